"""Finds a runs folder and ports for one more federation on this machine."""

import itertools
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from fedmx import run_state
from fedmx.values import Address
from server.watching.command import DEFAULT_ADDRESS

_ENDING_S = 6.0
"""Seconds in which a server ends after its launcher was killed."""
_TICK_S = 0.1
_LAUNCHER = ".launcher"

FIRST_FOLDER = "runs"
"""The folder of the runs, unless another federation uses it."""
ANY_PORT = f"{DEFAULT_ADDRESS.host}:0"
"""STATUS_ADDRESS that lets the kernel choose the port."""


@contextmanager
def find_room(environ: Mapping[str, str], root: Path) -> Iterator[Mapping[str, str]]:
    """Find what the user has not set, and reserve the folder for as long as the context lasts.

    The first federation writes to `runs`, one beside it to `runs-2`, and so on. The kernel chooses the ports,
    except that of the first federation's page, which is always the same and can be bookmarked.

    Args:
        environ: the user's settings.
        root: the project's folder.

    Yields:
        Settings to add to the user's.
    """
    with ExitStack() as stack:
        found: dict[str, str] = {}
        if not environ.get("LISTEN_ADDRESS", "").strip():
            found["LISTEN_ADDRESS"] = "127.0.0.1:0"
        if not environ.get("STATUS_ADDRESS", "").strip():
            found["STATUS_ADDRESS"] = str(DEFAULT_ADDRESS) if _is_free(DEFAULT_ADDRESS) else ANY_PORT
        if not environ.get("RUNS_DIR", "").strip():
            found["RUNS_DIR"] = _reserve_folder(root, stack)
        yield found


def _is_free(address: Address) -> bool:
    """Return whether nothing listens on an address now. That may change before the server starts."""
    try:
        socket.create_server((address.host, address.port)).close()
    except OSError:
        return False
    return True


def _reserve_folder(root: Path, stack: ExitStack) -> str:
    for number in itertools.count(1):
        name = FIRST_FOLDER if number == 1 else f"{FIRST_FOLDER}-{number}"
        try:
            (root / name).mkdir(exist_ok=True)
            with ExitStack() as reserved:
                reserved.enter_context(run_state.open_lock(root / name, _LAUNCHER))
                if _wait_for_server(root / name):
                    stack.push(reserved.pop_all())
                    return name
        except BlockingIOError:
            continue
        except OSError:
            # The server reports what is wrong with the folder.
            break
    return FIRST_FOLDER


def _wait_for_server(runs_dir: Path) -> bool:
    """Wait until no server holds the folder, and return False if one stays."""
    deadline = time.monotonic() + _ENDING_S
    while True:
        try:
            run_state.open_lock(runs_dir).close()
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(_TICK_S)
        else:
            return True
