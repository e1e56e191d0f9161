"""The limit of open files, which bounds how many nodes can be connected."""

import resource

from fedmx.errors import SettingsError
from fedmx.log import warn

# More than the nodes of a roster, for streams that are replaced and connections that say nothing.
_MAX_CONNECTIONS = 2_048


def make_room_for_connections() -> int:
    """Raise the soft limit, and return how many connections may be open at once.

    They have half of the limit at most, so that the program can always open other files.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * _MAX_CONNECTIONS
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return min(_MAX_CONNECTIONS, soft // 2)


def check(setting: str, nodes: int, most: int) -> None:
    """Check that a run's nodes can all be connected.

    Args:
        setting: the one that determines `nodes`.
        nodes: how many the run waits for.
        most: the nodes that a server accepts; with room for fewer, a WARNING is logged.

    Raises:
        SettingsError: there is no room for the nodes, so that the run would never begin.
    """
    room = make_room_for_connections()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if nodes > most:
        raise SettingsError(f"{setting}={nodes}: a server accepts {most} nodes; expected at most that many")
    if nodes > room:
        raise SettingsError(
            f"{setting}={nodes}: the hard limit of open files is {hard}, enough for {room} nodes; expected a"
            f" limit of at least {2 * nodes} (`ulimit -Hn`, or `ulimits` of the container), or fewer nodes"
        )
    if room < most:
        warn("few files may be open", hard_limit=hard, nodes=room, expected=2 * most)
