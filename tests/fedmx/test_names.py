"""Names that are no settings, and which settings they were meant to be."""

import subprocess
from pathlib import Path

import pytest

from fedmx.errors import SettingsError
from fedmx.names import check_container, find_problems, list_settings

ROOT = Path(__file__).resolve().parents[2]
OF_SITES = {"CLIENT_IMAGE", "CLIENT_GPU_IMAGE"}
MISTAKES = {
    "LEARNING_RATES": "LEARNING_RATE",
    "NUMROUNDS": "NUM_ROUNDS",
    "batch_size": "BATCH_SIZE",
    "EPOCHS": "LOCAL_EPOCHS",
    "SERVER_NAME": "SERVER_NAMES",
    "TASKS": "TASK",
    "CLIENT": "CLIENTS",
}


def ask_make(*names: str, env_file: str = "/dev/null") -> list[str]:
    """Ask the script that make asks, which knows the compose files and no Python."""
    command = [str(ROOT / "requirements" / "names.sh"), "ARGS SITE", env_file, *names]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


@pytest.mark.parametrize(("wrong", "meant"), MISTAKES.items())
def test_a_mistake_is_named_with_the_setting_that_was_meant(wrong: str, meant: str) -> None:
    for [line] in (find_problems([wrong]), ask_make(wrong)):
        assert wrong in line
        assert f" {meant}?" in line


def test_a_name_that_is_near_to_nothing_is_refused_without_a_guess() -> None:
    for [line] in (find_problems(["LR"]), ask_make("LR")):
        assert line.startswith("LR")
        assert "?" not in line


def test_every_setting_is_known_to_both_and_neither_knows_more() -> None:
    known = sorted(list_settings())
    assert find_problems(known) == []
    assert ask_make(*known, *OF_SITES, "ARGS", "SITE") == []
    text = (ROOT / "requirements" / "names.sh").read_text() + (ROOT / "docker-compose.yml").read_text()
    assert "BATCH_SIZE" in text
    for name in ("CHOWN", "BASE", "VERSION", "NVIDIA"):
        assert ask_make(name) != []


def test_names_of_ones_own_and_of_the_engine_are_left_alone() -> None:
    others = ["X_SCANS", "COMPOSE_PROFILES", "COMPOSE_FILE", "DOCKER_HOST", "BUILDKIT_PROGRESS"]
    assert find_problems(others) == []
    assert ask_make(*others) == []


def test_every_way_to_write_a_line_of_env_is_read(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text(
        '# A=1\n\nCLIENTS=2\nB1=\nexport CC=1\n  DDD = 1\nEE: 1\nDP_ARGS={"a=": 1}\n#F=1\nX_G=1\n'
    )
    assert [line.split()[0] for line in ask_make(env_file=str(path))] == ["B1", "CC", "DDD", "EE"]
    assert ask_make(env_file=str(tmp_path / "nowhere")) == []


def test_a_container_refuses_what_neither_its_image_nor_its_engine_has_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "environment.txt").write_text("SSL_CERT_FILE\nPYTHONUNBUFFERED\n")
    fine = ["HOME", "HOSTNAME", "PATH", "TERM", "http_proxy", "NO_PROXY", "SSL_CERT_FILE", "PYTHONUNBUFFERED"]
    check_container([*fine, *list_settings()])
    with pytest.raises(SettingsError) as caught:
        check_container([*fine, "LEARNING_RATES", "PIP_CERT"])
    assert [line.split()[0] for line in caught.value.problems] == ["LEARNING_RATES", "PIP_CERT"]
