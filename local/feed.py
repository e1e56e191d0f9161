"""Polls a run on a thread of its own, for the screen of `make run`."""

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from server.overview import read_overview
from server.watching.snapshot import RUNNING, Snapshot
from server.watching.source import NoStatusError, StatusPage

_INTERVAL_S = 0.5


class Feed:
    """Polls a run until it is stopped.

    Args:
        url: the server's page; if empty, the run's folder is read instead.
        folder: of the run.
        show: called with each snapshot.
        rename: replaces names of settings in what the run waits for.
    """

    def __init__(
        self, url: str, folder: Path, show: Callable[[Snapshot], None], rename: Callable[[str], str]
    ) -> None:
        self._read = StatusPage(url).read if url else _Folder(folder).read
        self._show = show
        self._rename = rename
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="feed", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop reading."""
        self._is_over.set()

    def _run(self) -> None:
        while not self._is_over.is_set():
            # The server may have ended: the previous snapshot stays on the screen.
            with suppress(NoStatusError):
                self._show(_rename_settings(self._read(), self._rename))
            self._is_over.wait(_INTERVAL_S)


def _rename_settings(snapshot: Snapshot, rename: Callable[[str], str]) -> Snapshot:
    activity = snapshot.activity
    fields = {
        name: rename(value) if isinstance(value, str) else value for name, value in activity.fields.items()
    }
    return replace(snapshot, activity=replace(activity, fields=fields, hint=rename(activity.hint)))


class _Folder:
    """Reads the folder of a run, again only if it has changed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._version: object = None
        self._newest: Snapshot | None = None

    def read(self) -> Snapshot:
        """Return the run.

        Raises:
            NoStatusError: it cannot be read yet, or not any more.
        """
        try:
            version = [self._find_version("run.json"), self._find_version("history.jsonl")]
            if self._newest is None or version != self._version:
                self._newest = Snapshot.parse({"state": RUNNING, "run": read_overview(self._folder)})
                self._version = version
        except (OSError, ValueError, LookupError, TypeError) as error:
            # A line may be half written, or written by another version.
            raise NoStatusError(str(error)) from None
        return self._newest

    def _find_version(self, name: str) -> tuple[int, int] | None:
        try:
            found = (self._folder / name).stat()
        except FileNotFoundError:
            return None
        return found.st_mtime_ns, found.st_size
