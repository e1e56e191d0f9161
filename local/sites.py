"""Finds the clients' folders if DATA_DIR has a placeholder: sites with their own data on one machine."""

import os
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fedmx import parsing
from fedmx.deployment_settings import MAX_CLIENTS, LocalSettings
from fedmx.errors import SettingsError
from fedmx.listing import list_names

_NUMBER, _SITE = "{n}", "{site}"
_OTHER_CHARACTERS = re.compile(r"[^A-Za-z0-9._-]+")
# The launcher's lines and errors use this name for the server.
_SERVER = "server"


def has_placeholder(data_dir: str) -> bool:
    """Whether a value of DATA_DIR means several folders."""
    return bool(parsing.find_placeholders(data_dir))


def find_sites(data_dir: str, clients: int | None, root: Path) -> dict[str, Path]:
    """Find the folders that a DATA_DIR with a placeholder means.

    Args:
        data_dir: with `{n}`, which is 1, 2, ... CLIENTS, or with `{site}`, which is each subfolder except
            hidden ones.
        clients: the number of clients; None: as many as there are subfolders, or the default for `{n}`.
        root: the folder that a relative path begins at.

    Returns:
        The folders by the names of their clients.

    Raises:
        SettingsError: the placeholder is not valid, a folder is missing or cannot name a client, or there are
            more or fewer folders than clients.
    """
    pattern = _parse(data_dir, root)
    if pattern.placeholder == _NUMBER:
        numbers = range(1, (clients or LocalSettings.clients) + 1)
        folders = [pattern.name.replace(_NUMBER, str(number)) for number in numbers]
    else:
        folders = _list_subfolders(pattern)
        _check_count(pattern, folders, clients)
    _check_folders(pattern, folders)
    return {name: pattern.folder(folder) for name, folder in _name(pattern, folders).items()}


@dataclass(frozen=True)
class _Pattern:
    """A DATA_DIR with a placeholder, in parts.

    Attributes:
        text: as the user has set it.
        placeholder: `{n}` or `{site}`.
        parent: the folder that contains the folders of the sites.
        name: the component with the placeholder.
        rest: what follows within each site's folder.
    """

    text: str
    placeholder: str
    parent: Path
    name: str
    rest: Path

    def folder(self, name: str) -> Path:
        """Return the path of a client's data."""
        return self.parent / name / self.rest

    def error(self, problem: str) -> SettingsError:
        """Return an error that names the setting."""
        return SettingsError(f"DATA_DIR={self.text}: {problem}")


def _parse(data_dir: str, root: Path) -> _Pattern:
    found = parsing.find_placeholders(data_dir)
    known = f"expected {_NUMBER} (1 to CLIENTS) or {_SITE} (each subfolder)"
    for placeholder in found:
        if placeholder not in (_NUMBER, _SITE):
            raise SettingsError(f"DATA_DIR={data_dir}: unknown placeholder {placeholder}; {known}")
    if len(found) > 1:
        raise SettingsError(f"DATA_DIR={data_dir}: {len(found)} placeholders; {known}, once")
    parts = Path(data_dir).parts
    (at,) = (index for index, part in enumerate(parts) if found[0] in part)
    return _Pattern(data_dir, found[0], root / Path(*parts[:at]), parts[at], Path(*parts[at + 1 :]))


def _list_subfolders(pattern: _Pattern) -> list[str]:
    """Return the names of the subfolders that `{site}` matches, sorted."""
    before, _, after = pattern.name.partition(_SITE)
    try:
        with os.scandir(pattern.parent) as entries:
            names = [entry.name for entry in entries if entry.is_dir()]
    except OSError as error:
        raise pattern.error(
            f"{pattern.parent} cannot be read ({error.strerror}); expected a folder with a subfolder for each"
            " site"
        ) from error
    is_site = re.compile(f"{re.escape(before)}.+{re.escape(after)}", re.DOTALL).fullmatch
    return sorted(name for name in names if is_site(name) and not name.startswith("."))


def _check_count(pattern: _Pattern, folders: list[str], clients: int | None) -> None:
    if not folders:
        suffix = "" if pattern.name == _SITE else f" named {pattern.name}"
        raise pattern.error(f"no subfolder{suffix} in {pattern.parent}; expected one for each site")
    if len(folders) > MAX_CLIENTS:
        raise pattern.error(f"{len(folders)} subfolders in {pattern.parent}; expected at most {MAX_CLIENTS}")
    if clients not in (None, len(folders)):
        raise SettingsError(
            f"CLIENTS={clients}: DATA_DIR={pattern.text} has {_count(folders)} ({list_names(folders)});"
            f" expected CLIENTS={len(folders)}, or no CLIENTS"
        )


def _check_folders(pattern: _Pattern, folders: list[str]) -> None:
    """Check that there is a folder for each client, rather than a file or nothing."""
    paths = [pattern.folder(name) for name in folders]
    missing = [str(path) for path in paths if not path.exists()]
    files = [str(path) for path in paths if path.exists() and not path.is_dir()]
    expected = f"a folder for each of CLIENTS={len(folders)}"
    if pattern.placeholder == _SITE:
        expected = f"a folder for each of {_count(folders)}"
    if missing:
        raise pattern.error(f"{list_names(missing)} not found; expected {expected}")
    if files:
        raise pattern.error(f"{list_names(files)}: not a folder; expected {expected}")


def _name(pattern: _Pattern, folders: list[str]) -> Mapping[str, str]:
    """Return the folders' names by the names of their clients.

    A client's name is its folder's, with accents removed and `-` for what log lines and file names do not
    contain.
    """
    named: dict[str, str] = {}
    for folder in folders:
        plain = unicodedata.normalize("NFKD", folder).encode("ascii", "ignore").decode()
        name = _OTHER_CHARACTERS.sub("-", plain).strip("-._")
        # A client rejects a placeholder in its own DATA_DIR.
        if not parsing.is_name(name) or name == _SERVER or has_placeholder(folder):
            raise pattern.error(
                f"folder {folder!r} cannot name a client; expected at most {parsing.LONGEST_NAME} letters,"
                f" digits, '.', '_' or '-', and not {_SERVER}: rename it"
            )
        if name in named:
            raise pattern.error(
                f"folders {named[name]!r} and {folder!r} both name a client {name}; rename one of them"
            )
        named[name] = folder
    return named


def _count(folders: list[str]) -> str:
    return "1 subfolder" if len(folders) == 1 else f"{len(folders)} subfolders"
