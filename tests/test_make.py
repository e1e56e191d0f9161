"""The Makefile's targets: what they require, pass on and reject, and their help."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.machine import ROOT, Machine


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
