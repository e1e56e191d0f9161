"""Files as they look to a user who may read nothing that is not everybody's."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
UID = 65534 if os.getuid() == 0 else os.getuid()
_BECOME = """
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
"""


def run_as_stranger(imports: str, code: str, *arguments: object) -> str:
    """Run Python code, `sys.argv[1:]` being the arguments, and return what it printed.

    Args:
        imports: what it imports before, since a stranger may not be able to read Python's own files.
        code: the rest.
        arguments: of the code.
    """
    done = subprocess.run(
        [sys.executable, "-c", f"import os, sys\n{imports}{_BECOME}{code}", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
