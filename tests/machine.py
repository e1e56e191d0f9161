"""A machine without Python packages, on which `make` and its scripts are run."""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.bounds import HANG_S

ROOT = Path(__file__).resolve().parents[1]
TOOLS = ("awk", "cat", "chmod", "cp", "dirname", "flock", "id", "mkdir", "rm", "sh", "sleep", "touch")
LOCK = "# {name}\nuv==0.13.9 \\\n    --hash=sha256:00\nwheel==1 \\\n    --hash=sha256:01\n"


# In place of Python 3.11: answers the script's questions, and records what is installed.
PYTHON = """#!/bin/sh
case "$*" in
    "-I -S -c "*print*) echo ${VERSION:-3.11} ;;
    "-I -S -c "*) exit 0 ;;
    *_base_executable*) echo "$0" ;;
    *ensurepip*) exit ${NO_VENV:-0} ;;
    *sys.version_info*) echo ${VERSION:-3.11} ;;
    "-m venv .venv") mkdir -p .venv/bin ".venv/lib/python${VERSION:-3.11}" && cp "$0" .venv/bin/python ;;
    *"pip --version"*) exit 0 ;;
    *"pip install"*)
        cat .venv/uv.txt >>installed
        cat >.venv/bin/uv <<'END'
#!/bin/sh
case "$*" in --version) exit 0 ;; esac
sleep ${DELAY:-0}
echo "$UV_DEFAULT_INDEX $*" >>installed
echo "$UV_PRINTS"
exit ${UV_STATUS:-0}
END
        chmod +x .venv/bin/uv ;;
    *local*) echo "CLIENTS=$CLIENTS PARTITION=$PARTITION SEED=$SEED"; exit ${PROGRAM_STATUS:-0} ;;
esac
"""

LDCONFIG = '#!/bin/sh\necho "$LIBRARIES"\n'
WRONG_VERSION = "#!/bin/sh\nexit 1\n"
SHIM = "#!/bin/sh\necho 'pyenv: python3.11: command not found' >&2\nexit 127\n"
BOTH_LIBRARIES = "libgomp.so.1 libquadmath.so.0"
SYSTEMS = {
    "debian-12": 'ID=debian\nVERSION_ID="12"\n',
    "debian-13": 'ID=debian\nVERSION_ID="13"\n',
    "ubuntu-22.04": 'ID=ubuntu\nVERSION_ID="22.04"\n',
    "ubuntu-24.04": 'ID=ubuntu\nVERSION_ID="24.04"\n',
    "fedora-43": "ID=fedora\nVERSION_ID=43\n",
    "void": "ID=void\n",
}


def run_in(
    folder: Path, command: list[str], environment: Mapping[str, str]
) -> "subprocess.CompletedProcess[str]":
    """Run a command in a folder, with this environment alone."""
    return subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=HANG_S,
    )


class Machine:
    """A folder with the script and small locks, a PATH of its own, and a system."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "project"
        self.bin = folder / "bin"
        self.release = folder / "os-release"
        (self.root / "requirements").mkdir(parents=True)
        self.bin.mkdir()
        shutil.copy(ROOT / "requirements" / "venv.sh", self.root / "requirements")
        for name in ("run", "export", "server", "client", "dev"):
            self.write_lock(name, LOCK.format(name=name))
        for tool in TOOLS:
            found = shutil.which(tool)
            if found:
                (self.bin / tool).symlink_to(found)
        self.put("ldconfig", LDCONFIG)
        self.become("debian-12")

    def become(self, system: str) -> None:
        self.release.write_text(SYSTEMS[system])

    def write_lock(self, name: str, text: str) -> None:
        """Write a lock that is newer than what was installed from the previous one."""
        (self.root / "requirements" / f"{name}.txt").write_text(text)
        for stamp in (self.root / ".venv").glob("*.ok"):
            os.utime(stamp, (0, 0))

    def put(self, name: str, script: str) -> None:
        (self.bin / name).write_text(script)
        (self.bin / name).chmod(0o755)

    def command(self, *locks: str) -> list[str]:
        return [str(self.root / "requirements" / "venv.sh"), *locks]

    def environment(self, **more: str) -> dict[str, str]:
        return {
            "PATH": str(self.bin),
            "OS_RELEASE": str(self.release),
            "LIBRARIES": BOTH_LIBRARIES,
            **more,
        }

    def set_up(self, *locks: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        return self.run(self.command(*locks), self.environment(**environment))

    def run(self, command: list[str], environment: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
        return run_in(self.root, command, environment)

    def list_syncs(self) -> list[str]:
        """Return the names of the locks that uv installed, in order."""
        written = self.root / "installed"
        lines = written.read_text().splitlines() if written.exists() else []
        return re.findall(r" pip sync .* requirements/(\w+)\.txt$", "\n".join(lines), re.MULTILINE)
