"""Write what follows from the settings classes: `make settings`, or `--check` to report what is out of date.

That is `.env`; the lists between `# settings:begin KINDS` and `# settings:end` in the compose files and
pyproject.toml; the tables between `<!-- settings:KINDS -->` and `<!-- /settings -->` in the documents; and
`server/status/page/bundle.json`, which contains the other files of its folder.
"""
# ruff: noqa: INP001 - a program of its own

import argparse
import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from fedmx.deployment_settings import ContainerSettings, LocalSettings, PkiSettings, SimulationSettings
from fedmx.fields import describe, explain_own, list_own
from fedmx.hyperparameters import Hyperparameters
from fedmx.names import find_problems, find_wrong_values
from fedmx.run_settings import RunSettings
from fedmx.settings import ClientSettings, CommonSettings, ModelSettings, ServerSettings
from requirements import env_file

KINDS: dict[str, type] = {
    "run": RunSettings,
    "hyperparameters": Hyperparameters,
    "server": ServerSettings,
    "client": ClientSettings,
    "common": CommonSettings,
    "authority": PkiSettings,
    "local": LocalSettings,
    "simulation": SimulationSettings,
    "model": ModelSettings,
    "containers": ContainerSettings,
}
SECTIONS = {
    "containers": ("local", "containers"),
    "run": ("run",),
    "hyperparameters": ("hyperparameters",),
    "server": ("server",),
    "client": ("client",),
    "server and client": ("common",),
    "certificates, and names of the images": ("authority",),
}
"""The sections of `.env`."""

IN_CONTAINERS = {
    # SERVER_PUBLISH decides who reaches the server.
    "LISTEN_ADDRESS": "0.0.0.0:8080",
    # STATUS_PUBLISH decides who reaches the page.
    "STATUS_ADDRESS": "0.0.0.0:8081",
    # The name of the service.
    "SERVER_ADDRESS": "server:8080",
    # The volume.
    "RUNS_DIR": "/runs",
}
"""Defaults that differ in containers."""

MOUNTED = ("CERTS_DIR", "PKI_DIR")
"""Folders that the compose file sets itself, where it mounts the volumes."""

_USED_BY_COMPOSE = ("COMPOSE_PROJECT_NAME", "FEDMX_VERSION")
"""What the compose file reads in other places as well, so that its lines are written by hand."""

_PAGE = "server/status/page"

_MARKED = re.compile(
    r"^(?P<indent> *)(?P<begin># settings:begin (?P<list>.*)|<!-- settings:(?P<table>.*) -->)\n"
    r"(?:.*\n)*?"
    r"(?P<end> *(?:# settings:end|<!-- /settings -->))$",
    re.MULTILINE,
)
_DEFAULT = re.compile(r"\$\{([A-Z_]+):-[^}]*\}")

Row = tuple[str, str, str]


def main(root: Path = Path()) -> int:
    """Write the files, or compare them; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m requirements.settings", description=__doc__)
    parser.add_argument(
        "--check",
        action="store_true",
        help="write nothing; exit with 1 if a file differs, 2 if .env is wrong",
    )
    is_check = parser.parse_args().check
    try:
        generated = dict(generate(root))
        problems = list(_check_env_file(root))
    except ValueError as error:
        print(f".env: {error}")
        return 2
    for problem in problems:
        print(problem if is_check else f"WARNING {problem}")
    differing = {
        path: text for path, text in generated.items() if not path.exists() or path.read_text() != text
    }
    for path, text in differing.items():
        if is_check:
            print(f"{path}: differs from the settings classes; expected what `make settings` writes")
        else:
            path.write_text(text)
            print(f"{path}: written")
    if not is_check:
        return 0
    return 2 if problems else int(bool(differing))


def _check_env_file(root: Path) -> Iterator[str]:
    """Yield a line for each unknown name, wrong value and assignment that does not count in `.env`."""
    path = root / ".env"
    text = path.read_text() if path.exists() else ""
    values = env_file.read_values(text)
    yield from find_problems(values)
    yield from find_wrong_values(values)
    yield from env_file.find_repeated(text)


def generate(root: Path) -> Iterator[tuple[Path, str]]:
    """Yield each file with the text that it should have."""
    path = root / ".env"
    yield path, env_file.update(path.read_text() if path.exists() else "", dict(_list_sections()))
    for name in ("docker-compose.yml", "compose.superlink.yml", "pyproject.toml", "README.md"):
        yield root / name, fill((root / name).read_text(), Path(name).suffix)
    for page in sorted((root / "docs").rglob("*.md")):
        yield page, fill(page.read_text(), page.suffix)
    yield root / _PAGE / "bundle.json", _bundle_page(root / _PAGE)


def _bundle_page(folder: Path) -> str:
    """Return the files of the status page as JSON, which a Flower App Bundle may contain."""
    files = sorted(path for path in folder.iterdir() if path.suffix in (".css", ".html", ".js"))
    texts = {path.name: path.read_text(encoding="utf-8") for path in files}
    return json.dumps(texts, indent=0, ensure_ascii=False) + "\n"


def fill(text: str, suffix: str) -> str:
    """Write the blocks between the markers of a file."""
    if suffix == ".yml":
        defaults = {name: value for name, value, _ in _list_rows(KINDS)} | IN_CONTAINERS
        text = _DEFAULT.sub(
            lambda found: f"${{{found[1]}:-{defaults[found[1]]}}}" if found[1] in defaults else found[0], text
        )
    return _MARKED.sub(lambda found: _fill_block(found, suffix), text)


def _fill_block(found: "re.Match[str]", suffix: str) -> str:
    kinds = (found["list"] or found["table"]).split()
    writers = {".yml": _write_list, ".toml": _write_run_config, ".md": _write_table}
    lines = [found["begin"], *writers[suffix](kinds)]
    return "\n".join([*(f"{found['indent']}{line}" for line in lines), found["end"]])


def _write_list(kinds: Sequence[str]) -> Iterator[str]:
    """Write what compose passes on to a container: a name without a value comes from `.env` or the shell."""
    for kind in kinds:
        for field in list_own(KINDS[kind]):
            name = field.name.upper()
            if name not in (*MOUNTED, *_USED_BY_COMPOSE):
                value = f" ${{{name}:-{IN_CONTAINERS[name]}}}" if name in IN_CONTAINERS else ""
                yield f"{name}:{value}"
                yield from (f"{alias}:" for alias in [field.metadata["alias"]] if alias)


def _write_run_config(kinds: Sequence[str]) -> Iterator[str]:
    for kind in kinds:
        own = [field.name.upper() for field in list_own(KINDS[kind])]
        for name, value in describe(KINDS[kind]()).items():
            if name in own:
                # Flower's run config has no tables.
                shown = json.dumps(json.dumps(value) if isinstance(value, dict) else value)
                yield f"{name.lower().replace('_', '-')} = {shown}"


def _write_table(kinds: Sequence[str]) -> Iterator[str]:
    yield "| setting | default | meaning |"
    yield "| --- | --- | --- |"
    for name, value, meaning in _list_rows(kinds):
        yield f"| `{name}` | {f'`{value}`' if value else ''} | {meaning} |"


def _list_sections() -> Iterator[tuple[str, list[Row]]]:
    for title, kinds in SECTIONS.items():
        rows = [row for row in _list_rows(kinds) if row[0] not in MOUNTED]
        yield title, [(name, IN_CONTAINERS.get(name, value), meaning) for name, value, meaning in rows]


def _list_rows(kinds: Sequence[str] | dict[str, type]) -> Iterator[Row]:
    for kind in kinds:
        yield from explain_own(KINDS[kind])


if __name__ == "__main__":
    sys.exit(main())
