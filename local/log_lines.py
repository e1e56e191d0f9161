"""Parses the log lines of the programs, in either format, to decide which are shown and how."""

import json
import re

_DATE, _TIME, _ZONE = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T", r"[0-9:]{8}\.[0-9]{3}", r"[+-][0-9:]{5}"
_TEXT_LINE = re.compile(rf"{_DATE}({_TIME}){_ZONE} (([A-Z]+) +(.*))")
# Worth seeing beside a screen that shows rounds from the middle on.
_RESUMING = "resuming a run"
_LOST_SERVER = "lost the server"
# Clients log it for their sites; here, the server's own line has the same numbers.
_FEDERATION_RESULT = "federation result"


def split_line(line: str) -> tuple[str, str]:
    """Return the level and the message of a log line; the level is empty for any other line."""
    if match := _TEXT_LINE.fullmatch(line):
        return match[3], match[4]
    try:
        fields = json.loads(line)
        return str(fields["level"]), str(fields["reason" if fields["event"] == "error" else "event"])
    except (ValueError, KeyError, TypeError):
        return "", line


def is_routine(line: str) -> bool:
    """Whether a line reports that all is well."""
    level, message = split_line(line)
    return level in ("INFO", "DEBUG") and not message.startswith(_RESUMING)


def is_repetition(line: str) -> bool:
    """Return whether a client's line repeats one of the server's."""
    return split_line(line)[1].startswith(_FEDERATION_RESULT)


def is_result_of_stop(line: str) -> bool:
    """Whether a line reports what is expected while all programs are being ended."""
    level, message = split_line(line)
    return level == "WARNING" and message.startswith(_LOST_SERVER)


def shorten(line: str) -> str:
    """Return a log line without its date and zone."""
    return _TEXT_LINE.sub(r"\1 \2", line)
