"""The event loop that serves the streams of all nodes of this process, on a thread of its own.

gRPC's synchronous client needs three threads for each stream, and passes every frame between two of them.
"""

import asyncio
import logging
import threading
from functools import cache

_lock = threading.Lock()


def get() -> asyncio.AbstractEventLoop:
    """Return the loop; the first call starts it."""
    with _lock:
        return _start()


def is_current(loop: asyncio.AbstractEventLoop) -> bool:
    """Return whether the caller runs on the thread of a loop."""
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


@cache
def _start() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    logging.getLogger("asyncio").addFilter(_is_worth_logging)
    threading.Thread(target=loop.run_forever, name="streams", daemon=True).start()
    return loop


def _is_worth_logging(record: logging.LogRecord) -> bool:
    """Return whether a record of asyncio is not about an event of gRPC for a loop that is closed.

    Each loop takes events of gRPC for the others. If a loop ends before its calls do, that of a task for
    example, what is left of them cannot be passed on.
    """
    is_closed = record.exc_info is not None and str(record.exc_info[1]) == "Event loop is closed"
    return not (is_closed and "PollerCompletionQueue" in record.getMessage())
