"""What shows a run costs nothing where it is off."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PACKAGES = (
    "starlette",
    "uvicorn",
    "prometheus_client",
    "tensorboardX",
    "server.status",
    "server.trackers",
    "http.server",
)
PROGRAM = """
import sys
from pathlib import Path
from fedmx.values import Address
from tests.server.federation import Federation
from tests.server.nodes import NullNode

folder, status, *names = sys.argv[1:]
federation = Federation(Path(folder))
federation.run({"a": NullNode()}, status_address=Address("127.0.0.1", 0) if status else None)
assert federation.facts["rounds"] == 1
print(*(name for name in names if name in sys.modules))
"""


def list_imported(folder: Path, status: str) -> set[str]:
    """Run a round, and list which of the packages were imported."""
    command = [sys.executable, "-c", PROGRAM, str(folder), status, *PACKAGES]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_a_server_imports_nothing_of_what_is_off(tmp_path: Path) -> None:
    assert list_imported(tmp_path, status="") == set()


def test_a_server_imports_what_is_on(tmp_path: Path) -> None:
    # prometheus_client imports a server of the standard library.
    found = list_imported(tmp_path, status="on") - {"http.server"}
    assert found == {"starlette", "uvicorn", "prometheus_client", "server.status"}
