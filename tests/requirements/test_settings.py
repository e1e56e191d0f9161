"""What `make settings` writes into the files of this repository."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from fedmx.deployment_settings import PkiSettings
from fedmx.fields import describe
from fedmx.run_settings import RunSettings
from fedmx.settings import ClientSettings, CommonSettings, ServerSettings, load
from requirements import settings
from requirements.settings import IN_CONTAINERS, MOUNTED, fill, generate

ROOT = Path(__file__).parents[2]


def read_env() -> dict[str, str]:
    lines = (ROOT / ".env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def run(root: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["settings", *arguments])
    return settings.main(root)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the files that are written, and of those of the status page."""
    page = Path("server/status/page")
    shutil.copytree(ROOT / page, tmp_path / page, ignore=shutil.ignore_patterns("__pycache__"))
    for path, _ in generate(ROOT):
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    return tmp_path


def test_this_repository_is_up_to_date() -> None:
    command = [sys.executable, "-m", "requirements.settings", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_env_file_of_this_repository_has_every_setting_with_its_default(tree: Path) -> None:
    (tree / ".env").unlink()
    written = dict(generate(tree))[tree / ".env"]
    assert written == (ROOT / ".env").read_text()
    for kind in (ServerSettings, ClientSettings, PkiSettings):
        names = describe(kind()).keys()
        assert names - read_env().keys() <= set(MOUNTED)
        given = {name: text for name, text in read_env().items() if name not in IN_CONTAINERS}
        assert load(kind, environ=given) == kind()


def test_what_is_out_of_date_is_named_and_then_written(
    tree: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("docker-compose.yml", "pyproject.toml", "docs/reference/settings.md"):
        lines = (tree / name).read_text().splitlines(keepends=True)
        kept = [line for line in lines if "batch-size" not in line and "BATCH_SIZE" not in line]
        assert len(kept) == len(lines) - 1
        (tree / name).write_text("".join(kept))
    (tree / ".env").unlink()
    wrong = [".env", "docker-compose.yml", "pyproject.toml", "docs/reference/settings.md"]
    assert run(tree, monkeypatch, "--check") == 1
    named = [line.partition(":")[0] for line in capsys.readouterr().out.splitlines()]
    assert named == [str(tree / name) for name in wrong]
    assert not (tree / ".env").exists(), "a check writes nothing"
    assert run(tree, monkeypatch) == 0
    assert run(tree, monkeypatch, "--check") == 0
    for name in wrong:
        assert (tree / name).read_bytes() == (ROOT / name).read_bytes()


def test_an_env_file_that_a_user_changed_is_up_to_date(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (tree / ".env").read_text().replace("NUM_ROUNDS=3", "NUM_ROUNDS=10")
    (tree / ".env").write_text(text)
    assert run(tree, monkeypatch, "--check") == 0
    run(tree, monkeypatch)
    assert (tree / ".env").read_text() == text


def test_what_is_wrong_in_an_env_file_fails_the_check_with_2_and_is_a_warning_when_it_is_written(
    tree: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with (tree / ".env").open("a") as file:
        file.write("EPOCHS=1\nX_OWN=1\nREGION=north\nSEED=first\n")
    expected = [
        ("EPOCHS", "LOCAL_EPOCHS?"),
        ("REGION", "X_"),
        ("SEED='first'", "integer"),
        ("SEED", "dropped 0"),
    ]
    assert run(tree, monkeypatch, "--check") == 2
    checked = capsys.readouterr().out.splitlines()[: len(expected)]
    for line, (start, part) in zip(checked, expected, strict=True):
        assert line.startswith(start)
        assert part in line
    assert run(tree, monkeypatch) == 0
    warnings = [line for line in capsys.readouterr().out.splitlines() if line.startswith("WARNING ")]
    assert warnings == [f"WARNING {line}" for line in checked]
    assert "EPOCHS=1\n" in (tree / ".env").read_text()
    assert run(tree, monkeypatch, "--check") == 2


def test_flower_may_override_the_settings_of_a_run_and_has_their_defaults() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["flwr"]["app"]["config"]
    environ = {name.replace("-", "_").upper(): str(value) for name, value in config.items()}
    assert environ.keys() == describe(RunSettings()).keys()
    assert load(ServerSettings, environ=environ) == ServerSettings()


def test_every_setting_is_in_one_table_of_the_documents() -> None:
    page = (ROOT / "docs" / "reference" / "settings.md").read_text()
    for name in describe(ServerSettings()) | describe(ClientSettings()) | describe(PkiSettings()):
        # Server and client have a folder each.
        assert page.count(f"| `{name}` |") == (2 if name == "CERTS_DIR" else 1), name


def test_only_what_is_between_markers_is_written_with_the_indentation_of_the_marker() -> None:
    text = "a:\n  LOG_LEVEL: hand\n  # settings:begin common\n  OLD:\n  # settings:end\nb: 1\n"
    names = [f"  {name}:" for name in describe(CommonSettings())]
    assert fill(text, ".yml").splitlines() == [
        "a:",
        "  LOG_LEVEL: hand",
        "  # settings:begin common",
        *names,
        "  # settings:end",
        "b: 1",
    ]


def test_defaults_in_the_compose_file_are_those_of_the_settings() -> None:
    text = "x: ${SERVER_CPUS:-9}\ny: ${RUNS_DIR:-here}\nz: ${OTHER:-9}\n"
    assert fill(text, ".yml") == "x: ${SERVER_CPUS:-1}\ny: ${RUNS_DIR:-/runs}\nz: ${OTHER:-9}\n"


def test_a_table_has_a_row_for_each_setting_and_its_neighbours_stay() -> None:
    end = "<!-- /settings -->\n"
    page = f"# Title\n<!-- settings:local -->\nold\n{end}<!-- settings:common -->\n{end}"
    lines = fill(page, ".md").splitlines()
    assert lines[0] == "# Title"
    assert [line for line in lines if line.startswith("| `CLIENTS`")] == [
        "| `CLIENTS` | `2` | number of clients to start |"
    ]
    assert sum(line.startswith("| `") for line in lines) == 1 + len(describe(CommonSettings()))
    assert "old" not in lines


def test_an_env_file_that_compose_cannot_read_is_named_and_left_as_it_is(
    tree: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tree / ".env").write_text("TASK='mnist\n")
    assert run(tree, monkeypatch) == 2
    assert "TASK='mnist" in capsys.readouterr().out
    assert (tree / ".env").read_text() == "TASK='mnist\n"
