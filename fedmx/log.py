"""Logs: one line an event, as `key=value` text or as JSON, on standard error. No configuration elsewhere."""

import json
import logging
import math
import sys
import time
from typing import TextIO

logger = logging.getLogger("fedmx")

_LONGEST = 400  # characters of a text that came over the wire


class _TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        line = f"{clock}.{int(record.msecs):03d} {record.levelname:<7} {record.getMessage()}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = {
            **{name: _as_json(value) for name, value in getattr(record, "fields", {}).items()},
            "time": round(record.created, 3),
            "level": record.levelname,
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return json.dumps(fields, default=str)


def configure(level: str, form: str, stream: TextIO | None = None) -> None:
    """Send this project's log lines to `stream` (default: standard error).

    Flower's own logger is kept to warnings: it narrates what the round lines already say.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_JsonFormatter() if form == "json" else _TextFormatter())
    logger.handlers[:] = [handler]
    logger.setLevel(level)
    logger.propagate = False
    logging.getLogger("flwr").setLevel(logging.WARNING)


def event(message: str = "", level: int = logging.INFO, **fields: object) -> None:
    """Log one event: `message`, then its fields as `key=value`; a field that is None is left out.

    Text that came over the wire goes through here, so what is not printable is escaped.
    """
    if not logger.isEnabledFor(level):
        return
    known = {key: value for key, value in fields.items() if value is not None}
    pairs = [f"{key}={_show(value)}" for key, value in known.items()]
    text = " ".join([printable(message), *pairs] if message else pairs)
    logger.log(level, "%s", text, extra={"fields": known})


def warn(message: str = "", **fields: object) -> None:
    """Log one event as a WARNING."""
    event(message, logging.WARNING, **fields)


def printable(text: str, limit: int = _LONGEST) -> str:
    """Escape what is not printable and bound the length, for text that came over the wire."""
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text[: limit + 1])
    return shown if len(shown) <= limit else shown[: limit - 3] + "..."


def _show(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    text = printable(str(value))
    needs_quotes = not text or any(c.isspace() or c in '"=' for c in text)
    return json.dumps(text, ensure_ascii=False) if needs_quotes else text


def _as_json(value: object) -> object:
    if isinstance(value, str):
        return value[:_LONGEST]  # JSON escapes what is not printable
    # JSON has no NaN and no infinities.
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
