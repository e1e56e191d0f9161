"""The log: one line per event, as text with `key=value` fields or as JSON, on standard error."""

import json
import logging
import math
import sys
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TextIO

logger = logging.getLogger("fedmx")

# Characters of a text, which may have come over the wire.
_LONGEST = 400
# Significant digits: for people, and for programs.
_DIGITS_IN_TEXT = 4
_DIGITS_IN_JSON = 6


class _TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = f"{_time_of(record)} {record.levelname:<7} {record.getMessage()}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": _time_of(record),
            "level": record.levelname,
            "event": getattr(record, "event", None) or record.getMessage(),
            **{name: _as_json(value) for name, value in getattr(record, "fields", {}).items()},
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def _time_of(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created).astimezone().isoformat(timespec="milliseconds")


def configure(level: str, form: str, stream: TextIO | None = None) -> None:
    """Send this project's log lines to a stream; to standard error by default.

    Flower's own logger is limited to warnings: what it reports is in the lines about rounds already.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_JsonFormatter() if form == "json" else _TextFormatter())
    logger.handlers[:] = [handler]
    logger.setLevel(level)
    logger.propagate = False
    logging.getLogger("flwr").setLevel(logging.WARNING)


def event(name: str, level: int = logging.INFO, **fields: object) -> None:
    """Log one event: its name, then its fields as `key=value`. A field that is None is left out.

    The name is constant: what differs from one line to the next is a field. Fields may hold text that came
    over the wire, so unprintable characters are escaped. A mapping is one field in JSON, and one field per
    entry as text.
    """
    if not logger.isEnabledFor(level):
        return
    known = {key: value for key, value in fields.items() if value is not None}
    shown = [f"{printable(key)}={show(value)}" for key, value in _flatten(known)]
    text = " ".join([printable(name), *shown])
    logger.log(level, "%s", text, extra={"event": name, "fields": known})


def warn(name: str, **fields: object) -> None:
    """Log one event as a WARNING."""
    event(name, logging.WARNING, **fields)


def error(line: str) -> None:
    """Log an error's line; in JSON it is the `reason` of an event named `error`."""
    logger.error("%s", line, extra={"event": "error", "fields": {"reason": line}})


def printable(text: str, limit: int = _LONGEST) -> str:
    """Escape unprintable characters and limit the length, for text that came over the wire."""
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text[: limit + 1])
    return shown if len(shown) <= limit else shown[: limit - 3] + "..."


def _flatten(fields: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """List fields for a text line, where the entries of a mapping stand beside the other fields."""
    for key, value in fields.items():
        if isinstance(value, Mapping):
            for name, entry in value.items():
                yield (f"{key}.{name}" if name in fields else name), entry
        else:
            yield key, value


def show(value: object) -> str:
    """Format a value for a text line: rounded, escaped, and quoted where necessary."""
    if isinstance(value, float):
        return f"{_round(value, _DIGITS_IN_TEXT):.15g}"
    if isinstance(value, list | tuple):
        value = ",".join(map(str, value))
    text = printable(str(value))
    needs_quotes = not text or any(c.isspace() or c in '"=' for c in text)
    return json.dumps(text, ensure_ascii=False) if needs_quotes else text


def _as_json(value: object) -> object:
    if isinstance(value, str):
        # JSON escapes unprintable characters itself.
        return value[:_LONGEST]
    if isinstance(value, float):
        # JSON has no NaN and no infinities.
        return _round(value, _DIGITS_IN_JSON) if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {name: _as_json(entry) for name, entry in value.items()}
    return value


def _round(value: float, digits: int) -> float:
    """Round to significant digits, but never to the left of the decimal point."""
    if not value or not math.isfinite(value):
        return value
    return round(value, max(0, digits - 1 - math.floor(math.log10(abs(value)))))
