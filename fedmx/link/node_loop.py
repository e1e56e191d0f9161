"""The event loop that serves the streams of all nodes of this process, on a thread of its own.

gRPC's synchronous client needs three threads for each stream, and passes every frame between two of them.
"""

import asyncio
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
    threading.Thread(target=loop.run_forever, name="streams", daemon=True).start()
    return loop
