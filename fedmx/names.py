"""Names of settings: which of those in a container's environment are none.

Compose hands `.env` to the authority's container, the first of each `up`. A wrong name there would be ignored
silently otherwise, as compose passes on the names that its file lists alone.
"""

import difflib
import re
from collections.abc import Collection, Iterable
from pathlib import Path

from fedmx.errors import SettingsError
from fedmx.fields import list_names
from fedmx.settings import ClientSettings, ContainerSettings, LocalSettings, ServerSettings

_OF_THE_IMAGE = Path("environment.txt")
_OF_THE_ENGINE = re.compile(r"HOME|HOSTNAME|PATH|TERM|LC_CTYPE|GRPC_VERBOSITY|container|\w+_proxy|\w+_PROXY")
_OF_OTHERS = re.compile(r"(X|COMPOSE|DOCKER|BUILDKIT)_.*")


def list_settings() -> set[str]:
    """Return the names of all settings, their aliases included."""
    kinds = (ServerSettings, ClientSettings, LocalSettings, ContainerSettings)
    return {name for kind in kinds for name in list_names(kind)}


def check_container(environ: Iterable[str]) -> None:
    """Check the names in the environment of this container, but for those that the image or the engine set.

    Raises:
        SettingsError: some are no settings.
    """
    of_image = _OF_THE_IMAGE.read_text().split() if _OF_THE_IMAGE.exists() else ()
    others = [name for name in environ if name not in of_image and not _OF_THE_ENGINE.fullmatch(name)]
    if problems := find_problems(others):
        raise SettingsError(problems)


def find_problems(names: Iterable[str]) -> list[str]:
    """Return a line for each name that is no setting, with the nearest one."""
    known = list_settings()
    unknown = [name for name in names if name not in known and not _OF_OTHERS.fullmatch(name)]
    return [f"{name} in .env: not a setting{_suggest(name, known)}" for name in unknown]


def _suggest(name: str, known: Collection[str]) -> str:
    wanted = name.upper()
    parts = [word for word in known if wanted in word] if len(wanted) > 2 else []  # noqa: PLR2004 - LR is in too many
    found = [*difflib.get_close_matches(wanted, known, n=1, cutoff=0.75), *sorted(parts)]
    return f"; did you mean {found[0]}?" if found else "; names of your own begin with X_"
