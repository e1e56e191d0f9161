"""Logs the progress of reading many files or records, which takes minutes for a large dataset."""

import logging
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from fedmx.log import event

T = TypeVar("T")

_LOG_EVERY_S = 10.0


def log_progress(items: Iterable[T], name: str, **fields: object) -> Iterator[T]:
    """Yield items, and log every few seconds how many have been read.

    Args:
        items: the items.
        name: name of the event.
        **fields: its other fields.
    """
    due = time.monotonic() + _LOG_EVERY_S
    for number, item in enumerate(items, 1):
        yield item
        if time.monotonic() >= due:
            event(name, logging.INFO, **fields, read=number)
            due = time.monotonic() + _LOG_EVERY_S
