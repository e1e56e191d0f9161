"""Names in `.env` that are not settings.

Compose passes all of `.env` to the authority's container, the first of each `up`. Without this check a
misspelled name would be ignored silently, since other containers get only the names that the file lists.
"""

import difflib
import re
from collections.abc import Collection, Iterable, Mapping

from fedmx import image
from fedmx.deployment_settings import ContainerSettings, LocalSettings
from fedmx.errors import SettingsError
from fedmx.fields import list_names, parse
from fedmx.settings import ClientSettings, ServerSettings

# Set by the engine, and by this program for its libraries.
_FOREIGN_NAMES = re.compile(
    r"HOME|HOSTNAME|PATH|TERM|LC_CTYPE|GRPC_(VERBOSITY|ENABLE_FORK_SUPPORT)|container|\w+_proxy|\w+_PROXY"
)
_OTHER_NAMES = re.compile(r"(X|COMPOSE|DOCKER|BUILDKIT)_.*")


def list_settings() -> set[str]:
    """Return the names of all settings, their aliases included."""
    kinds = (ServerSettings, ClientSettings, LocalSettings, ContainerSettings)
    return {name for kind in kinds for name in list_names(kind)}


def check_container(environ: Mapping[str, str]) -> None:
    """Check the names in this container's environment, except those that its image or the engine sets.

    Raises:
        SettingsError: some are not settings; wrong values of settings are reported with them.
    """
    of_image = image.list_names()
    others = [name for name in environ if name not in of_image and not _FOREIGN_NAMES.fullmatch(name)]
    problems = find_problems(others)
    if problems:
        raise SettingsError([*problems, *find_wrong_values(environ)])


def find_problems(names: Iterable[str]) -> list[str]:
    """Return a line for each name that is not a setting, with the most similar setting."""
    known = list_settings()
    unknown = [name for name in names if name not in known and not _OTHER_NAMES.fullmatch(name)]
    own = "; names of your own begin with X_"
    return [f"{name} in .env: not a setting{suggest(name, known) or own}" for name in unknown]


def find_wrong_values(environ: Mapping[str, str]) -> list[str]:
    """Return a line for each setting of any program whose value is not valid."""
    kinds = (ServerSettings, ClientSettings, LocalSettings)
    return list(dict.fromkeys(problem for kind in kinds for problem in parse(kind, environ)[1]))


def suggest(name: str, known: Collection[str]) -> str:
    """Return the most similar setting as the end of a line; empty if there is none."""
    wanted = name.upper()
    similar = difflib.get_close_matches(wanted, known, n=1, cutoff=0.75)
    containing = [word for word in known if _is_most_of(wanted, word)]
    # ADDRESS is a word of two settings, neither of which is the likelier one.
    found = similar or (containing if len(containing) == 1 else [])
    return f"; did you mean {found[0]}?" if found else ""


def _is_most_of(part: str, name: str) -> bool:
    """Whether a text is whole words of a name, and at least half of it: EPOCHS of LOCAL_EPOCHS."""
    return f"_{part}_" in f"_{name}_" and 2 * len(part) >= len(name)
