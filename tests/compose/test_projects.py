"""Two federations on one machine, separated by COMPOSE_PROJECT_NAME."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.compose.conftest import make_stack
from tests.compose.stack import PROJECT, ROOT, Stack, name_image

pytestmark = [pytest.mark.compose, pytest.mark.timeout(600)]

QUICK = {"NUM_ROUNDS": "1", "LOCAL_EPOCHS": "1", "JOIN_WINDOW": "0"}


def list_names(*command: str, project: str) -> set[str]:
    """List what the engine has of a project, without the project's name."""
    printed = subprocess.run(["docker", *command], capture_output=True, text=True, check=True).stdout
    found = {line.partition(project) for line in printed.split()}
    return {rest[1:] for before, _, rest in found if not before and rest[:1] in ("-", "_")}


def list_images(project: str) -> set[str]:
    return list_names("images", "--format", "{{.Repository}}", project=project)


def list_volumes(project: str) -> set[str]:
    return list_names("volume", "ls", "--quiet", project=project)


def list_containers(project: str) -> set[str]:
    return list_names("ps", "--all", "--format", "{{.Names}}", project=project)


@pytest.fixture
def two(images: None, tmp_path: Path) -> Iterator[tuple[Stack, Stack]]:
    """Two projects; neither name is a prefix of the other."""
    folders = tmp_path / "one", tmp_path / "other"
    for folder in folders:
        folder.mkdir()
    one, other = (make_stack(folder) for folder in folders)
    for stack in (one, other):
        stack.environment.update(QUICK)
    yield one, other
    one.end()
    other.end()


def make_or_fail(stack: Stack, *arguments: str) -> str:
    made = stack.make(*arguments, folder=stack.folder)
    assert made.returncode == 0, made.stdout + made.stderr
    return made.stdout


def test_every_target_acts_on_the_named_project_alone(two: tuple[Stack, Stack]) -> None:
    one, other = two
    for stack in two:
        make_or_fail(stack, "up")
    names = {"client-1", "client-2", "outcome-1", "pki-1", "server-1"}
    volumes = {"authority", "local-certs", "runs", "server-certs"}
    for stack in two:
        assert list_containers(stack.name) == names
        assert list_volumes(stack.name) == volumes
        listed = make_or_fail(stack, "ps")
        assert stack.name in listed
        assert f"{(one if stack is other else other).name}-" not in listed
    serials = [make_or_fail(stack, "pki-list").split() for stack in two]
    assert not {word for word in serials[0] if len(word) > 30} & set(serials[1])
    make_or_fail(one, "down")
    assert list_containers(one.name) == set()
    assert list_containers(other.name) == names
    make_or_fail(one, "clean")
    assert (list_images(one.name), list_volumes(one.name)) == (set(), volumes)
    assert {"server", "client"} <= list_images(other.name)
    assert list_volumes(other.name) == volumes


def test_another_project_on_the_command_line_of_compose_has_separate_images(
    two: tuple[Stack, Stack],
) -> None:
    for stack in two:
        stack.up("--no-start")
        for container in stack.containers():
            program = "client" if container.service == "client" else "server"
            assert container.facts["Config"]["Image"] == name_image(program, stack.name)


def test_an_unknown_name_in_env_is_rejected_by_plain_compose_before_a_server_starts(
    images: None, tmp_path: Path
) -> None:
    root = tmp_path / "project"
    root.mkdir()
    shutil.copy(ROOT / "docker-compose.yml", root)
    stack = make_stack(tmp_path)
    stack.root = root
    try:
        (root / ".env").write_text((ROOT / ".env").read_text() + "X_MINE=1\nLEARNING_RATES=0.5\n")
        up = stack.up(**QUICK)
        assert up.returncode != 0
        assert stack.container("pki").exit_code == 2
        [line] = [line for line in stack.log("pki").splitlines() if "LEARNING_RATE" in line]
        assert " LEARNING_RATE?" in line
        assert "X_MINE" not in stack.log("pki")
        assert stack.container("server").state == "created"
        (root / ".env").unlink()
        again = stack.up("pki")
        assert again.returncode == 0, again.stdout
    finally:
        stack.end()


def test_clients_of_a_server_elsewhere_start_neither_a_server_nor_an_authority(
    images: None, tmp_path: Path
) -> None:
    stack = make_stack(tmp_path)
    try:
        up = stack.up("client", SERVER_ADDRESS="fl.example.org:8080")
        assert up.returncode != 0
        [line] = [line for line in stack.log("pki").splitlines() if "SERVER_ADDRESS" in line]
        assert "make client BUNDLE=" in line
        assert "make bundle SITE=" in line
        assert stack.container("pki").exit_code == 2
        assert {container.state for container in stack.containers() if container.service != "pki"} == {
            "created"
        }
    finally:
        stack.end()


def test_the_first_up_builds_the_images_and_pulls_none(images: None, tmp_path: Path) -> None:
    stack = Stack(f"{PROJECT}-first", tmp_path)
    try:
        assert list_images(stack.name) == set()
        up = stack.up(**QUICK)
        assert up.returncode == 0, up.stdout
        assert list_images(stack.name) == {"server", "client"}
        for word in ("Pulling", "registry", "denied", "Warning", "Error"):
            assert word not in up.stdout
    finally:
        stack.end()
