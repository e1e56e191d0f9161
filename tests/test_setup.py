"""How a machine is made ready: requirements/venv.sh, and what make hands on.

The script runs in a copy of the project's corner, on a PATH that holds only what a test puts there.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.bounds import HANG_S

ROOT = Path(__file__).resolve().parents[1]
TOOLS = ("awk", "cat", "cmp", "cp", "dirname", "flock", "mkdir", "rm", "sh", "sleep", "tail", "uname")

# Stands for Python 3.11: answers the script's questions, and writes down what it was made to install.
PYTHON = """#!/bin/sh
case "$*" in
    "-I -S "*) exit 0 ;;
    *_base_executable*) echo "$0" ;;
    *ensurepip*) exit ${NO_VENV:-0} ;;
    "-m venv .venv") mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
    *ctypes*) echo "$LACKING" ;;
    *"pip install"*) sleep ${DELAY:-0}; echo "$*" >>installed; echo "$SAID"; exit ${PIP_STATUS:-0} ;;
    *local*) echo "CLIENTS=$CLIENTS PARTITION=$PARTITION SEED=$SEED"; exit ${PROGRAM_STATUS:-0} ;;
esac
"""
UV = """#!/bin/sh
case "$*" in
    "venv "*) mkdir -p .venv/bin && cp python-of-uv .venv/bin/python; echo "$*" >>installed ;;
    "pip install "*) echo "$*" >>installed ;;
esac
"""
WRONG_VERSION = "#!/bin/sh\nexit 1\n"
SHIM = "#!/bin/sh\necho 'pyenv: python3.11: command not found' >&2\nexit 127\n"


class Machine:
    """A folder with the script and two small locks, and a PATH of its own."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "project"
        self.bin = folder / "bin"
        (self.root / "requirements").mkdir(parents=True)
        self.bin.mkdir()
        shutil.copy(ROOT / "requirements" / "venv.sh", self.root / "requirements")
        for name in ("server", "client", "dev"):
            self.write_lock(name, f"# {name}\n")
        for tool in TOOLS:
            found = shutil.which(tool)
            if found:
                (self.bin / tool).symlink_to(found)

    def write_lock(self, name: str, text: str) -> None:
        (self.root / "requirements" / f"{name}.txt").write_text(text)

    def put(self, name: str, script: str) -> None:
        (self.bin / name).write_text(script)
        (self.bin / name).chmod(0o755)

    def command(self, *locks: str) -> list[str]:
        return [str(self.root / "requirements" / "venv.sh"), *locks]

    def environment(self, **more: str) -> dict[str, str]:
        return {"PATH": str(self.bin), **more}

    def set_up(self, *locks: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        return self.run(self.command(*locks), self.environment(**environment))

    def run(self, command: list[str], environment: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            command,
            cwd=self.root,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=HANG_S,
        )

    def installs(self) -> list[str]:
        written = self.root / "installed"
        return written.read_text().splitlines() if written.exists() else []


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.fixture
def machine_with_python(machine: Machine) -> Machine:
    machine.put("python3.11", PYTHON)
    return machine


def test_a_new_venv_takes_one_line_and_hashed_locks(machine_with_python: Machine) -> None:
    done = machine_with_python.set_up("server", "client")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"setting up \.venv \(about \d+ s, once\)\n", done.stdout)
    (install,) = machine_with_python.installs()
    assert "--require-hashes -r requirements/server.txt -r requirements/client.txt" in install


def test_a_venv_with_the_same_locks_is_left_alone(machine_with_python: Machine) -> None:
    machine_with_python.set_up("dev")
    again = machine_with_python.set_up("dev")
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    assert len(machine_with_python.installs()) == 1


def test_the_tools_lock_holds_those_of_both_programs(machine_with_python: Machine) -> None:
    machine_with_python.set_up("dev")
    assert machine_with_python.set_up("server", "client").stdout == ""


def test_a_lock_that_changed_makes_the_venv_anew(machine_with_python: Machine) -> None:
    machine_with_python.set_up("dev")
    machine_with_python.write_lock("dev", "# another\n")
    assert "setting up" in machine_with_python.set_up("dev").stdout
    assert machine_with_python.set_up("dev").stdout == ""


def test_a_half_made_venv_is_made_anew(machine_with_python: Machine) -> None:
    machine_with_python.set_up("dev", PIP_STATUS="1")
    assert "setting up" in machine_with_python.set_up("dev").stdout
    assert machine_with_python.set_up("dev").stdout == ""


def test_a_venv_whose_python_is_gone_is_made_anew(machine_with_python: Machine) -> None:
    machine_with_python.set_up("dev")
    (machine_with_python.root / ".venv" / "bin" / "python").unlink()
    again = machine_with_python.set_up("dev")
    assert "setting up" in again.stdout
    assert again.stderr == ""


@pytest.mark.skipif(shutil.which("flock") is None, reason="flock is not installed")
def test_two_commands_at_once_make_one_venv(machine_with_python: Machine) -> None:
    environment = machine_with_python.environment(DELAY="0.5")
    command = machine_with_python.command("dev")
    both = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) for _ in range(2)]
    said = [process.communicate(timeout=HANG_S)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sorted(map(bool, said)) == [False, True]
    assert len(machine_with_python.installs()) == 1


@pytest.mark.parametrize("script", [SHIM, WRONG_VERSION])
def test_a_python311_that_is_none_is_passed_over_for_a_python3_that_is(machine: Machine, script: str) -> None:
    machine.put("python3.11", script)
    machine.put("python3", PYTHON)
    assert machine.set_up("dev").returncode == 0


def test_without_python_uv_fetches_it_and_installs(machine: Machine) -> None:
    machine.put("uv", UV)
    (machine.root / "python-of-uv").write_text(PYTHON)
    (machine.root / "python-of-uv").chmod(0o755)
    assert machine.set_up("client").returncode == 0
    assert machine.installs() == [
        "venv --quiet --python 3.11 .venv",
        "pip install --quiet --python .venv/bin/python --require-hashes -r requirements/client.txt",
    ]


@pytest.mark.parametrize("script", [SHIM, WRONG_VERSION, None])
def test_no_python_is_one_line_that_says_how_to_get_it(machine: Machine, script: str | None) -> None:
    if script:
        machine.put("python3.11", script)
        machine.put("uv", SHIM)
    done = machine.set_up("dev")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "no Python 3.11: apt-get install python3.11 python3.11-venv (Debian 12, Ubuntu 22.04),"
        " or install uv, which fetches it\n"
    )


def test_no_venv_module_is_one_line_with_its_package(machine_with_python: Machine) -> None:
    done = machine_with_python.set_up("dev", NO_VENV="1")
    assert done.returncode == 2
    assert done.stderr == "Python 3.11 is here without its venv module: apt-get install python3.11-venv\n"


@pytest.mark.parametrize("lacking", ["libgomp1", "libquadmath0", "libgomp1\nlibquadmath0"])
def test_only_the_system_libraries_that_lack_are_named(machine_with_python: Machine, lacking: str) -> None:
    done = machine_with_python.set_up("dev", LACKING=lacking)
    assert done.returncode == 2
    named = lacking.replace("\n", " ")
    assert done.stderr == f"MXNet needs libraries that are not here: apt-get install {named}\n"
    assert machine_with_python.installs() == []


def test_the_server_needs_no_library_of_mxnet(machine_with_python: Machine) -> None:
    assert machine_with_python.set_up("server", LACKING="libgomp1").returncode == 0


def test_a_failed_install_shows_pips_words_and_then_what_to_do(machine_with_python: Machine) -> None:
    done = machine_with_python.set_up("client", PIP_STATUS="1", SAID="ERROR: no route to host")
    assert done.returncode == 2
    assert done.stderr == (
        "ERROR: no route to host\n"
        "could not install the lock client of requirements/, see above:"
        " check the network, or the mirror that pip is set to, and try again\n"
    )


@pytest.mark.parametrize("locks", [(), ("sever",)])
def test_a_lock_that_does_not_exist_is_said(machine_with_python: Machine, locks: tuple[str, ...]) -> None:
    done = machine_with_python.set_up(*locks)
    assert done.returncode == 2
    assert re.match(r"usage: |no lock requirements/sever\.txt", done.stderr)


def test_a_real_python_makes_a_venv_that_runs(machine: Machine) -> None:
    (machine.bin / "python3.11").symlink_to(sys.executable)
    path = f"{machine.bin}{os.pathsep}{os.defpath}"
    done = machine.run(machine.command("server"), {"PATH": path, "HOME": str(machine.root)})
    assert done.returncode == 0, done.stderr
    python = str(machine.root / ".venv" / "bin" / "python")
    version = machine.run([python, "-c", "import sys; print(sys.prefix)"], {})
    assert version.stdout.strip() == str(machine.root / ".venv")


def copy_makefile(folder: Path) -> None:
    """Copy the Makefile, and what tells it which settings there are."""
    for name in (
        "Makefile",
        "requirements/names.sh",
        "docker-compose.yml",
        "server/authority/site/docker-compose.yml",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "LEARNING_RATES=0.1"],
        ["run", "CLIENTS=4", "LEARNING_RATES='; touch done #"],
        ["up", "LEARNING_RATES=0.1"],
        ["gpu", "LEARNING_RATES:=0.1"],
        ["client", "LEARNING_RATES=0.1"],
        ["bundle", "SITE=a", "LEARNING_RATES="],
        ["down", "LEARNING_RATES=0.1"],
    ],
)
def test_make_refuses_a_name_that_is_no_setting_before_it_does_anything(
    machine_with_python: Machine, arguments: list[str]
) -> None:
    copy_makefile(machine_with_python.root)
    command = [str(shutil.which("make")), *arguments]
    done = machine_with_python.run(command, machine_with_python.environment(LEARNING_RATEX="of the shell"))
    assert (done.returncode, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert " LEARNING_RATES: " in line
    assert " LEARNING_RATE?" in line
    assert "LEARNING_RATEX" not in line
    assert not (machine_with_python.root / "done").exists()
    assert machine_with_python.installs() == []


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize(
    ("target", "path"), [("up", ".env"), ("gpu", ".env"), ("pki-list", ".env"), ("client", "bundle/.env")]
)
def test_make_refuses_a_wrong_name_in_the_env_that_compose_would_read(
    machine: Machine, target: str, path: str
) -> None:
    copy_makefile(machine.root)
    (machine.root / path).parent.mkdir(exist_ok=True)
    (machine.root / path).write_text("CLIENTS=2\nNUMROUNDS=5\n")
    done = machine.run([str(shutil.which("make")), target], machine.environment())
    assert (done.returncode, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert f"NUMROUNDS in {path}: " in line
    assert " NUM_ROUNDS?" in line
    # What takes a federation away is not kept from doing so, nor is what reads no such file.
    machine.put("docker", "#!/bin/sh\n")
    assert machine.run([str(shutil.which("make")), "down"], machine.environment()).returncode == 0


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_hands_its_variables_and_the_environment_to_the_programs(machine_with_python: Machine) -> None:
    copy_makefile(machine_with_python.root)
    command = [str(shutil.which("make")), "run", "CLIENTS=4", "PARTITION=labels:5"]
    done = machine_with_python.run(command, machine_with_python.environment(SEED="7"))
    assert done.stdout.splitlines()[-1] == "CLIENTS=4 PARTITION=labels:5 SEED=7"
    failed = machine_with_python.run(command, machine_with_python.environment(PROGRAM_STATUS="4"))
    assert failed.returncode == 2  # make knows no other
    assert failed.stderr.strip().endswith("run] Error 4")


def test_every_make_target_says_what_it_does_in_three_lines_or_fewer() -> None:
    blocks = re.split(r"\n\n+", (ROOT / "Makefile").read_text())
    targets = [block for block in blocks if re.search(r"^[a-z-]+:", block, re.MULTILINE)]
    assert len(targets) > 5
    for block in targets:
        lines = [line for line in block.splitlines() if not line.startswith("#")]
        assert re.match(r"[a-z-]+:.*## \S", lines[0]), lines[0]
        assert len(lines) <= 3, lines[0]


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_help_is_aligned_and_lists_each_target_in_one_group() -> None:
    done = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    blocks = [block.splitlines() for block in done.stdout.split("\n\n")]
    assert len(blocks) == 4
    lines = [line for heading, *lines in blocks for line in lines if not heading.startswith(" ")]
    targets = [line.split()[1] for line in lines]
    documented = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert sorted(targets) == sorted(set(documented))
    assert len({re.match(r"  make \S+ +", line).end() for line in lines}) == 1  # type: ignore[union-attr]
    of_users = "\n".join("\n".join(block) for block in blocks[:-1])
    assert "make test" not in of_users
    assert "make lock" not in of_users
