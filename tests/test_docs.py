"""The documents say what the code does."""

import dataclasses
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest

from fedmx.fields import describe
from fedmx.settings import ClientSettings, CommonSettings, LocalSettings, PkiSettings, ServerSettings, load

SETTINGS = Path("docs/settings.md").read_text()
SITES = Path("docs/sites.md").read_text()


def list_rows(kind: type, *, without: type | None = None) -> list[str]:
    """Give the rows of a settings table: name, default, meaning."""
    inherited = {field.name for field in dataclasses.fields(without)} if without else set()
    defaults = kind()
    return [
        f"| `{field.name.upper()}` | {show(getattr(defaults, field.name))} | {field.metadata['meaning']} |"
        for field in dataclasses.fields(kind)
        if field.name not in inherited
    ]


def show(value: object) -> str:
    if isinstance(value, Mapping):
        return "`{}`"
    if isinstance(value, tuple):
        value = ",".join(value)
    text = f"{value:g}" if isinstance(value, float) else "" if value is None else str(value)
    return f"`{text}`" if text else ""


@pytest.mark.parametrize(
    ("kind", "without"),
    [
        (CommonSettings, None),
        (ServerSettings, CommonSettings),
        (ClientSettings, CommonSettings),
        (PkiSettings, None),
        (LocalSettings, PkiSettings),
    ],
)
def test_the_readme_lists_every_setting_with_its_default_and_meaning(
    kind: type, without: type | None
) -> None:
    rows = list_rows(kind, without=without)
    assert rows
    assert [row for row in rows if row not in SETTINGS] == []


def test_the_readme_writes_bundles_before_it_starts_a_server_that_waits_for_them() -> None:
    for heading in ("## On the server's machine", "## Without Docker"):
        section = SITES[SITES.index(heading) :]
        commands = [line for line in section.splitlines() if line.startswith("$ ")]
        bundle = next(i for i, line in enumerate(commands) if re.search(r"(make|pki) bundle ", line))
        server = next(i for i, line in enumerate(commands) if re.search(r"(up .*|-m )server$", line))
        assert bundle < server
        assert "CLIENT_WAIT_TIMEOUT=0" in "".join(commands[bundle : server + 1])


def test_the_readme_lists_no_setting_that_does_not_exist() -> None:
    kinds = (ServerSettings, ClientSettings, LocalSettings)
    known = {field.name.upper() for kind in kinds for field in dataclasses.fields(kind)}
    listed = set(re.findall(r"^\| `([A-Z_]+)` \|", SETTINGS, re.MULTILINE))
    assert listed <= known


def test_what_flower_may_override_is_the_servers_settings_with_their_defaults() -> None:
    config = tomllib.loads(Path("pyproject.toml").read_text())["tool"]["flwr"]["app"]["config"]
    not_of_a_run = {  # of the machine: the environment says them on every engine
        "LISTEN_ADDRESS",
        "LINK_SECURITY",
        "CERTS_DIR",
        "LEASE_GRACE",
        "KEEP_CHECKPOINTS",
        "RESUME",
        "RUNS_DIR",
        "LOG_LEVEL",
        "LOG_FORMAT",
        "MAX_MODEL_BYTES",
    }
    assert {name.replace("-", "_").upper() for name in config} == set(
        describe(ServerSettings())
    ) - not_of_a_run
    environ = {name.replace("-", "_").upper(): str(value) for name, value in config.items()}
    assert load(ServerSettings, environ=environ) == ServerSettings()
