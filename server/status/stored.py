"""The runs on disk as response bodies, read one at a time on a thread of their own."""

import asyncio
import math
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fedmx.parsing import is_name
from server.record.catalog import list_runs, read_run
from server.status.json_text import encode
from server.status.replies import JSON, Body

_MOST_KEPT = 16
_LIST_AGE_S = 5.0


class StoredRuns:
    """The runs of a folder.

    Args:
        runs_dir: RUNS_DIR.

    Attributes:
        text: the list of runs in JSON, as last read.
    """

    def __init__(self, runs_dir: Path) -> None:
        self.text = "[]"
        self._runs_dir = runs_dir
        self._executor = ThreadPoolExecutor(1, "status-stored")
        self._bodies: OrderedDict[object, Body] = OrderedDict()
        self._lock = asyncio.Lock()
        self._listed = -math.inf
        self._key: object = None
        self._rests_until = -math.inf

    async def refresh(self, key: object) -> None:
        """Read the list of runs again if it is old, or if it was read for another key."""
        async with self._lock:
            loop = asyncio.get_running_loop()
            if key != self._key or loop.time() - self._listed > _LIST_AGE_S:
                self.text = await loop.run_in_executor(self._executor, self._list)
                self._listed = loop.time()
                self._key = key

    async def find(self, run_id: str) -> Body | None:
        """Return a run; None if it does not exist or cannot be read."""
        # A name is neither a path nor a hidden folder.
        if not is_name(run_id):
            return None
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._find, run_id)

    def _list(self) -> str:
        return encode([run.to_json() for run in list_runs(self._runs_dir)])

    def _find(self, run_id: str) -> Body | None:
        folder = self._runs_dir / run_id
        try:
            key = run_id, _find_version(folder / "run.json"), _find_version(folder / "history.jsonl")
            if key not in self._bodies:
                self._rest()
                started = time.monotonic()
                self._bodies[key] = Body.build(encode(read_run(self._runs_dir, run_id)).encode(), JSON)
                ended = time.monotonic()
                self._rests_until = ended + (ended - started)
        except (OSError, ValueError):
            return None
        self._bodies.move_to_end(key)
        while len(self._bodies) > _MOST_KEPT:
            self._bodies.popitem(last=False)
        return self._bodies[key]

    def _rest(self) -> None:
        """Wait as long as reading the last run took: many long runs may use only half of a core."""
        time.sleep(max(0.0, self._rests_until - time.monotonic()))


def _find_version(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_size
