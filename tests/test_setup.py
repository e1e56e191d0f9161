"""Set-up of a machine by requirements/venv.sh: what it installs, what it repeats, and what it finds missing.

The script runs in a copy of the few files that it needs. PATH contains only what a test puts there.
"""

import os
import re
import shutil
import subprocess
import sys

import pytest

from tests.bounds import HANG_S
from tests.machine import LOCK, PYTHON, ROOT, SHIM, WRONG_VERSION, Machine


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
