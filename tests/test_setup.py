"""Set-up of a machine by requirements/venv.sh, and the variables that make passes on.

The script runs in a copy of the few files that it needs. PATH contains only what a test puts there.
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
        return subprocess.run(
            command,
            cwd=self.root,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=HANG_S,
        )

    def list_syncs(self) -> list[str]:
        """Return the names of the locks that uv installed, in order."""
        written = self.root / "installed"
        lines = written.read_text().splitlines() if written.exists() else []
        return re.findall(r" pip sync .* requirements/(\w+)\.txt$", "\n".join(lines), re.MULTILINE)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.fixture
def machine_with_python(machine: Machine) -> Machine:
    machine.put("python3.11", PYTHON)
    return machine


def test_uv_comes_from_the_lock_with_its_hash_and_installs_the_lock_by_hashes(
    machine_with_python: Machine,
) -> None:
    done = machine_with_python.set_up("run", PIP_INDEX_URL="mirror")
    assert (done.returncode, done.stderr) == (0, "")
    uv, uv_hash, sync = (machine_with_python.root / "installed").read_text().splitlines()
    assert (uv, uv_hash) == ("uv==0.13.9 \\", "    --hash=sha256:00")
    assert sync == "mirror pip sync --python .venv/bin/python --require-hashes requirements/run.txt"


def test_a_venv_of_the_same_lock_is_left_alone(machine_with_python: Machine) -> None:
    machine_with_python.set_up("dev")
    again = machine_with_python.set_up("dev")
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    assert machine_with_python.list_syncs() == ["dev"]


def test_the_lock_for_development_is_enough_to_run_and_not_the_other_way_round(
    machine_with_python: Machine,
) -> None:
    for lock in ("run", "dev", "run"):
        assert machine_with_python.set_up(lock).returncode == 0
    assert machine_with_python.list_syncs() == ["run", "dev"]


def test_the_lock_for_exports_covers_that_for_runs_but_not_vice_versa(
    machine_with_python: Machine,
) -> None:
    for lock in ("run", "export", "run", "export"):
        assert machine_with_python.set_up(lock).returncode == 0
    assert machine_with_python.list_syncs() == ["run", "export"]
    assert machine_with_python.set_up("server").returncode == 0
    assert machine_with_python.list_syncs() == ["run", "export", "server"]


def test_a_lock_that_changed_is_installed(machine_with_python: Machine) -> None:
    machine_with_python.set_up("dev")
    machine_with_python.write_lock("dev", LOCK.format(name="another"))
    assert machine_with_python.set_up("dev").stdout != ""
    assert machine_with_python.set_up("dev").stdout == ""
    assert machine_with_python.list_syncs() == ["dev", "dev"]


def test_an_installation_that_failed_is_repeated(machine_with_python: Machine) -> None:
    failed = machine_with_python.set_up("dev", UV_STATUS="1", UV_PRINTS="no route to host")
    assert failed.returncode == 2
    assert "no route to host" in failed.stdout
    [line] = failed.stderr.splitlines()
    assert "requirements/dev.txt" in line
    assert machine_with_python.set_up("dev").returncode == 0
    assert machine_with_python.list_syncs() == ["dev", "dev"]


def test_a_venv_whose_python_was_removed_or_has_another_version_is_set_up_again(
    machine_with_python: Machine,
) -> None:
    machine_with_python.set_up("dev")
    (machine_with_python.root / ".venv" / "bin" / "python").unlink()
    again = machine_with_python.set_up("dev")
    assert (again.returncode, again.stderr) == (0, "")
    machine_with_python.write_lock("dev", LOCK.format(name="another"))
    assert machine_with_python.set_up("dev", VERSION="3.13").returncode == 0
    assert [path.name for path in (machine_with_python.root / ".venv" / "lib").iterdir()] == ["python3.13"]
    assert machine_with_python.list_syncs() == ["dev"] * 3


@pytest.mark.skipif(shutil.which("flock") is None, reason="flock is not installed")
def test_of_two_commands_at_once_one_installs(machine_with_python: Machine) -> None:
    environment = machine_with_python.environment(DELAY="0.5")
    command = machine_with_python.command("dev")
    both = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) for _ in range(2)]
    printed = [process.communicate(timeout=HANG_S)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sorted(map(bool, printed)) == [False, True]
    assert machine_with_python.list_syncs() == ["dev"]


@pytest.mark.parametrize("script", [SHIM, WRONG_VERSION])
def test_a_python_that_does_not_run_or_is_too_old_is_skipped(machine: Machine, script: str) -> None:
    machine.put("python3.11", script)
    machine.put("python3", PYTHON)
    assert machine.set_up("dev").returncode == 0


@pytest.mark.parametrize(
    ("system", "command"),
    [
        ("debian-12", "apt-get install python3 python3-venv libgomp1 libquadmath0"),
        ("debian-13", "apt-get install python3 python3-venv libgomp1 libquadmath0"),
        ("ubuntu-22.04", "apt-get install python3.11 python3.11-venv libgomp1 libquadmath0"),
        ("ubuntu-24.04", "apt-get install python3 python3-venv libgomp1 libquadmath0"),
        ("fedora-43", "dnf install python3.13 libgomp libquadmath"),
        ("void", "Python 3.11, 3.12 or 3.13"),
    ],
)
@pytest.mark.parametrize("script", [SHIM, WRONG_VERSION, None])
def test_all_missing_packages_are_one_line_with_the_systems_command_before_anything_is_installed(
    machine: Machine, system: str, command: str, script: str | None
) -> None:
    if script:
        machine.put("python3.11", script)
    machine.become(system)
    done = machine.set_up("dev", LIBRARIES="")
    assert (done.returncode, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert command in line
    assert not (machine.root / ".venv").exists()


@pytest.mark.parametrize(
    ("system", "package"), [("debian-12", "python3.11-venv"), ("fedora-43", "python3-libs")]
)
def test_a_python_without_its_venv_module_is_named_with_the_package(
    machine_with_python: Machine, system: str, package: str
) -> None:
    machine_with_python.become(system)
    done = machine_with_python.set_up("dev", NO_VENV="1")
    assert done.returncode == 2
    assert done.stderr.endswith(f" install {package}\n")


@pytest.mark.parametrize(
    ("libraries", "packages"), [("libgomp.so.1", "libquadmath0"), ("libquadmath.so.0", "libgomp1")]
)
def test_only_the_libraries_that_are_missing_are_named(
    machine_with_python: Machine, libraries: str, packages: str
) -> None:
    done = machine_with_python.set_up("dev", LIBRARIES=libraries)
    assert done.returncode == 2
    assert done.stderr.endswith(f" install {packages}\n")
    assert machine_with_python.list_syncs() == []


def test_the_server_needs_no_library_of_mxnet(machine_with_python: Machine) -> None:
    assert machine_with_python.set_up("server", LIBRARIES="").returncode == 0


@pytest.mark.parametrize("locks", [(), ("sever",)])
def test_a_lock_that_does_not_exist_is_refused_with_those_that_do(
    machine_with_python: Machine, locks: tuple[str, ...]
) -> None:
    done = machine_with_python.set_up(*locks)
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert all(name in line for name in ("run", "dev", "server", "client", *locks))


@pytest.mark.slow
@pytest.mark.parametrize("is_interrupted", [False, True])
def test_a_real_python_makes_a_venv_with_uv_and_installs_into_it(
    machine: Machine, *, is_interrupted: bool
) -> None:
    entries = re.split(r"\n(?=[a-z])", (ROOT / "requirements" / "server.txt").read_text())
    small = [entry for entry in entries if entry.startswith(("uv==", "idna=="))]
    machine.write_lock("server", "\n".join(small) + "\n")
    (machine.bin / "python3.11").symlink_to(sys._base_executable)  # type: ignore[attr-defined]
    if is_interrupted:
        # What is there before pip is.
        command = [sys.executable, "-m", "venv", "--without-pip", ".venv"]
        subprocess.run(command, cwd=machine.root, check=True)
    path = f"{machine.bin}{os.pathsep}{os.defpath}"
    names = [
        name
        for name in os.environ
        if name.startswith(("PIP_", "UV_")) or name.endswith(("_CERT_FILE", "_proxy"))
    ]
    given = {name: os.environ[name] for name in names}
    done = machine.run(machine.command("server"), {**given, "PATH": path, "HOME": str(machine.root)})
    assert done.returncode == 0, done.stderr
    python = str(machine.root / ".venv" / "bin" / "python")
    version = machine.run([python, "-c", "import sys, idna; print(sys.prefix)"], {})
    assert version.stdout.strip() == str(machine.root / ".venv"), version.stderr


@pytest.mark.parametrize(
    ("system", "command"),
    [
        ("debian-12", "docs.docker.com/engine/install"),
        ("debian-13", "apt-get install docker.io docker-compose docker-buildx"),
        ("ubuntu-22.04", "apt-get install docker.io docker-compose-v2 docker-buildx"),
        ("ubuntu-24.04", "apt-get install docker.io docker-compose-v2 docker-buildx"),
        ("fedora-43", "dnf install moby-engine docker-compose docker-buildx"),
        ("void", "docs.docker.com/engine/install"),
    ],
)
@pytest.mark.parametrize(
    "target",
    ["up", "build", "pki-list", "status", "watch", "runs FROM=containers", "events FROM=containers"],
)
def test_make_names_docker_and_the_systems_command_where_a_target_needs_it(
    machine: Machine, target: str, system: str, command: str
) -> None:
    copy_makefile(machine.root)
    shutil.copy(ROOT / "requirements" / "docker.sh", machine.root / "requirements")
    machine.become(system)
    done = machine.run([str(shutil.which("make")), *target.split()], machine.environment())
    assert (done.returncode, done.stdout) == (2, "")
    line, of_make = done.stderr.splitlines()
    assert command in line
    assert of_make.endswith(" Error 2")


def test_make_passes_a_dollar_sign_on_as_it_is(machine: Machine) -> None:
    copy_makefile(machine.root)
    with (machine.root / "Makefile").open("a") as file:
        file.write('.PHONY: show\nshow:\n\t@printf "%s" "$$RUN_NAME"\n')
    given = "costs $5, $(id) and $$"
    make = [str(shutil.which("make")), "show"]
    assert machine.run([*make, f"RUN_NAME={given}"], machine.environment()).stdout == given
    in_environment = {**machine.environment(), "RUN_NAME": given}
    assert machine.run(make, in_environment).stdout == given


def copy_makefile(folder: Path) -> None:
    """Copy the Makefile, and the files that list the settings for it."""
    for name in (
        "Makefile",
        "requirements/names.sh",
        "docker-compose.yml",
        "compose.superlink.yml",
        "deploy/superlink/superlink.sh",
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
def test_make_refuses_an_unknown_setting_before_it_does_anything(
    machine_with_python: Machine, arguments: list[str]
) -> None:
    copy_makefile(machine_with_python.root)
    command = [str(shutil.which("make")), *arguments]
    done = machine_with_python.run(command, machine_with_python.environment(LEARNING_RATEX="of the shell"))
    assert (done.returncode, done.stdout) == (2, "")
    line, remedy = done.stderr.splitlines()
    assert line.startswith("LEARNING_RATES: ")
    assert line.endswith(" LEARNING_RATE?")
    assert "docs/reference/settings.md" in remedy
    assert "LEARNING_RATEX" not in done.stderr
    assert not (machine_with_python.root / "done").exists()
    assert machine_with_python.list_syncs() == []


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize(
    ("target", "path"), [("up", ".env"), ("gpu", ".env"), ("pki-list", ".env"), ("client", "bundle/.env")]
)
def test_make_refuses_an_unknown_setting_in_the_env_file_that_compose_reads(
    machine: Machine, target: str, path: str
) -> None:
    copy_makefile(machine.root)
    (machine.root / path).parent.mkdir(exist_ok=True)
    (machine.root / path).write_text("CLIENTS=2\nNUMROUNDS=5\nEPOCHS=1\n")
    done = machine.run([str(shutil.which("make")), *target.split()], machine.environment())
    assert (done.returncode, done.stdout) == (2, "")
    rounds, epochs, remedy = done.stderr.splitlines()
    for line, name, meant in ((rounds, "NUMROUNDS", "NUM_ROUNDS"), (epochs, "EPOCHS", "LOCAL_EPOCHS")):
        assert line.startswith(f"{name} in {path}: ")
        assert line.endswith(f" {meant}?")
    assert "docs/reference/settings.md" in remedy
    # Targets that do not read the file, `down` for instance, are not affected.
    machine.put("docker", "#!/bin/sh\n")
    assert machine.run([str(shutil.which("make")), "down"], machine.environment()).returncode == 0


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_passes_its_variables_and_the_environment_to_the_programs(machine_with_python: Machine) -> None:
    copy_makefile(machine_with_python.root)
    command = [str(shutil.which("make")), "run", "CLIENTS=4", "PARTITION=labels:5"]
    done = machine_with_python.run(command, machine_with_python.environment(SEED="7"))
    assert done.stdout.splitlines()[-1] == "CLIENTS=4 PARTITION=labels:5 SEED=7"
    failed = machine_with_python.run(command, machine_with_python.environment(PROGRAM_STATUS="4"))
    assert failed.returncode == 2  # the only code of make for a failed recipe
    assert failed.stderr.strip().endswith("run] Error 4")


def test_every_make_target_has_a_summary_and_at_most_four_lines() -> None:
    blocks = re.split(r"\n\n+", (ROOT / "Makefile").read_text())
    targets = [block for block in blocks if re.search(r"^[a-z-]+:", block, re.MULTILINE)]
    assert len(targets) > 5
    for block in targets:
        lines = [line for line in block.splitlines() if not line.startswith("#")]
        assert re.match(r"[a-z-]+:.*## \S", lines[0]), lines[0]
        assert len(lines) <= 4, lines[0]


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_help_is_aligned_and_lists_each_target_in_one_group() -> None:
    done = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    blocks = [block.splitlines() for block in done.stdout.split("\n\n")]
    assert len(blocks) == 5
    lines = [line for heading, *lines in blocks for line in lines if not heading.startswith(" ")]
    targets = [line.split()[1] for line in lines]
    documented = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert sorted(targets) == sorted(set(documented))
    assert len({re.match(r"  make \S+ +", line).end() for line in lines}) == 1  # type: ignore[union-attr]
    of_users = "\n".join("\n".join(block) for block in blocks[:-1])
    assert "make test" not in of_users
    assert "make lock" not in of_users
