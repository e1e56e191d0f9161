"""Names that are not settings, and which settings were meant."""

import subprocess
from pathlib import Path

import pytest

from fedmx.errors import SettingsError
from fedmx.names import check_container, find_problems, list_settings

ROOT = Path(__file__).resolve().parents[2]
SITE_NAMES = {"CLIENT_IMAGE", "CLIENT_GPU_IMAGE"}
MISTAKES = {
    "LEARNING_RATES": "LEARNING_RATE",
    "NUMROUNDS": "NUM_ROUNDS",
    "batch_size": "BATCH_SIZE",
    "EPOCHS": "LOCAL_EPOCHS",
    "SERVER_NAME": "SERVER_NAMES",
    "TASKS": "TASK",
    "CLIENT": "CLIENTS",
}


def find_by_make(*names: str, env_file: str = "/dev/null") -> list[str]:
    """Run the script that make runs, which reads the compose files and needs no Python."""
    command = [str(ROOT / "requirements" / "names.sh"), "ARGS NAME SITE", env_file, *names]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (int(done.stdout != ""), "")
    return done.stdout.splitlines()


@pytest.mark.parametrize(("wrong", "meant"), MISTAKES.items())
def test_a_misspelled_name_is_reported_with_the_setting_that_was_meant(wrong: str, meant: str) -> None:
    for [line] in (find_problems([wrong]), find_by_make(wrong)):
        assert wrong in line
        assert f" {meant}?" in line


@pytest.mark.parametrize(
    "name", ["LR", "MODEL", "USERNAME", "HOSTNAME", "PORT", "ADDRESS", "MEMORY", "LOGS_DIR", "A", "_"]
)
def test_a_name_that_is_similar_to_no_setting_is_reported_without_a_guess(name: str) -> None:
    for [line] in (find_problems([name]), find_by_make(name)):
        assert line.startswith(name)
        assert "?" not in line


def test_a_word_of_make_is_accepted_and_meant_on_its_command_line_only(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("NAME=a\nSIT=b\n")
    found = find_by_make("NAME", "SIT", env_file=str(tmp_path / ".env"))
    assert [line.split()[0] for line in found] == ["SIT:", "NAME", "SIT"]
    assert ["SITE?" in line for line in found] == [True, False, False]


def test_both_checks_know_every_setting_and_nothing_else() -> None:
    known = sorted(list_settings())
    assert find_problems(known) == []
    assert find_by_make(*known, *SITE_NAMES, "ARGS", "NAME", "SITE") == []
    text = (ROOT / "requirements" / "names.sh").read_text() + (ROOT / "docker-compose.yml").read_text()
    assert "BATCH_SIZE" in text
    for name in ("CHOWN", "BASE", "VERSION", "NVIDIA"):
        assert find_by_make(name) != []


def test_names_of_the_user_and_of_the_engine_are_accepted() -> None:
    others = ["X_SCANS", "COMPOSE_PROFILES", "COMPOSE_FILE", "DOCKER_HOST", "BUILDKIT_PROGRESS"]
    assert find_problems(others) == []
    assert find_by_make(*others) == []


def test_every_notation_of_a_line_in_env_is_parsed(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text(
        '# A=1\n\nCLIENTS=2\nB1=\nexport CC=1\n  DDD = 1\nEE: 1\nDP_ARGS={"a=": 1}\n#F=1\nX_G=1\n'
    )
    assert [line.split()[0] for line in find_by_make(env_file=str(path))] == ["B1", "CC", "DDD", "EE"]
    assert find_by_make(env_file=str(tmp_path / "nowhere")) == []


def test_a_container_rejects_names_that_neither_its_image_nor_its_engine_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "environment.txt").write_text("SSL_CERT_FILE\nPYTHONUNBUFFERED\n")
    fine = ["HOME", "HOSTNAME", "PATH", "TERM", "http_proxy", "NO_PROXY", "SSL_CERT_FILE", "PYTHONUNBUFFERED"]
    check_container(dict.fromkeys([*fine, *list_settings()], ""))
    wrong = {"LEARNING_RATES": "1", "PIP_CERT": "", "BATCH_SIZE": "x", "LOG_LEVEL": "x", "CLIENTS": "0"}
    with pytest.raises(SettingsError) as caught:
        check_container({**dict.fromkeys(fine, ""), **wrong})
    starts = ["LEARNING_RATES", "PIP_CERT", "LOG_LEVEL='x':", "BATCH_SIZE='x':", "CLIENTS='0':"]
    assert sorted(line.split()[0] for line in caught.value.problems) == sorted(starts)
