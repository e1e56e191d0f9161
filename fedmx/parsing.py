"""Parsers from the text of a setting to its value. Each raises a `ValueError` that names what it expected."""

import difflib
import ipaddress
import json
import math
import re
from collections.abc import Callable, Collection, Mapping
from decimal import Decimal
from pathlib import Path

from fedmx.cgroups import count_cores

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
LONGEST_NAME = 64
_PLACEHOLDER = re.compile(r"\{[^{}/]*\}")
_HOST = re.compile(r"(?!\d+(\.\d+)*\Z)[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_INTEGER = re.compile(r"[+-]?[0-9]+")
# `float` also accepts digits of other scripts, `1_000`, nan and inf.
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
# The fields of messages are signed 64-bit integers.
_LARGEST_INTEGER = 2**63 - 1
# threading and asyncio cannot wait for much longer.
_LONGEST_WAIT_S = 1e9
_MOST_THREADS = 256
_LONGEST_HOST_NAME = 253
# Beyond these, what nodes compute with a number leaves what float32 can hold.
SMALLEST_FLOAT32 = 1e-30
_LARGEST_FLOAT32 = 1e30


def parse_ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Parse a numeric address; return None for a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def integer(*, at_least: int, at_most: int = _LARGEST_INTEGER) -> Callable[[str], int]:
    """Return a parser of integers."""

    def parse(text: str) -> int:
        # Unlike `int`, `Decimal` parses any number of digits.
        value = Decimal(text) if _INTEGER.fullmatch(text) else None
        if value is None or value < at_least:
            raise ValueError(f"expected an integer of at least {at_least}")
        if value > at_most:
            raise ValueError(f"expected an integer of at most {at_most}")
        return int(value)

    return parse


def number(
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
) -> Callable[[str], float]:
    """Return a parser of finite numbers."""
    bounds = [
        f"{word} {bound:g}"
        for word, bound in (
            ("of at least", at_least),
            ("above", above),
            ("at most", at_most),
            ("below", below),
        )
        if bound is not None
    ]

    def is_within(value: float) -> bool:
        return (
            math.isfinite(value)
            and (at_least is None or value >= at_least)
            and (above is None or value > above)
            and (at_most is None or value <= at_most)
            and (below is None or value < below)
        )

    def parse(text: str) -> float:
        value = float(text) if _NUMBER.fullmatch(text) else math.nan
        if is_within(value):
            return value
        raise ValueError(f"expected a number {' and '.join(bounds)}")

    return parse


def share(*, is_needed: bool) -> Callable[[str], float]:
    """Return a parser of shares of a device: a fraction of one, or a number of devices.

    Args:
        is_needed: whether 0 is invalid.
    """
    parse = number(above=0) if is_needed else number(at_least=0)

    def parse_share(text: str) -> float:
        value = parse(text)
        if value > 1 and not value.is_integer():
            raise ValueError("expected a part of one, such as 0.5, or a whole number")
        return value

    return parse_share


def float32(parse: Callable[[str], float]) -> Callable[[str], float]:
    """Return a parser of numbers that float32 can hold: nodes compute in it, and MXNet rejects others."""

    def parse_float32(text: str) -> float:
        value = parse(text)
        if value and not is_float32(value):
            raise ValueError(
                f"expected a number from {SMALLEST_FLOAT32:g} to {_LARGEST_FLOAT32:g}, since nodes compute in"
                " float32"
            )
        return value

    return parse_float32


def is_float32(value: float) -> bool:
    """Return whether nodes can compute with a number that is not 0."""
    return SMALLEST_FLOAT32 <= abs(value) <= _LARGEST_FLOAT32


seconds = number(at_least=0, at_most=_LONGEST_WAIT_S)


def seconds_or_unlimited(text: str) -> float:
    """Parse how long to wait; 0 means no limit, which is returned as infinity."""
    try:
        return seconds(text) or math.inf
    except ValueError as error:
        raise ValueError(f"{error}; 0 means no limit") from None


def choice(*words: str) -> Callable[[str], str]:
    """Return a parser of one of these words, in upper or lower case."""

    def parse(text: str) -> str:
        for known in words:
            if text.lower() == known.lower():
                return known
        raise ValueError(f"expected {', '.join(words[:-1])} or {words[-1]}")

    return parse


def known(names: Collection[str], kind: str) -> Callable[[str], str]:
    """Return a parser of one of many names, in upper or lower case; its error has the most similar ones.

    Args:
        names: in lower case.
        kind: what they name, for the error.
    """

    def parse(text: str) -> str:
        name = text.lower()
        if name in names:
            return name
        similar = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
        suggestion = f" (similar: {', '.join(similar)})" if similar else ""
        raise ValueError(f"not {kind}{suggestion}; expected one of {', '.join(sorted(names))}")

    return parse


def word(text: str) -> str:
    """Parse a text without blanks."""
    if any(character.isspace() or not character.isprintable() for character in text):
        raise ValueError("expected a text without blanks")
    return text


def is_name(text: str, longest: int = LONGEST_NAME) -> bool:
    """Return whether a text can name a node in log lines and file names."""
    return len(text) <= longest and _NAME.fullmatch(text) is not None


def find_placeholders(text: str) -> list[str]:
    """Return what is in braces in a path, braces included, such as `{n}`."""
    return _PLACEHOLDER.findall(text)


def folder(text: str) -> Path:
    """Parse the path of one folder."""
    if placeholders := find_placeholders(text):
        raise ValueError(
            f"expected the folder of this client without {placeholders[0]}; only `make run`, which starts"
            " several clients, replaces {n} and {site}"
        )
    return Path(text)


def name(text: str) -> str:
    """Parse a name that log lines and file names can contain."""
    if not is_name(text):
        raise ValueError(
            f"expected at most {LONGEST_NAME} letters, digits, '.', '_' or '-', a letter or digit first"
        )
    return text


def indices(text: str) -> tuple[int, ...]:
    """Parse indices, separated by commas; a repeated one counts once."""
    return tuple(dict.fromkeys(integer(at_least=0)(part.strip()) for part in text.split(",")))


def host_names(text: str) -> tuple[str, ...]:
    """Parse names and addresses of a machine, separated by commas; a leading minus sign removes one."""
    names = tuple(dict.fromkeys(_host_name(part.strip()) for part in text.split(",") if part.strip()))
    both = [name for name in names if f"-{name}" in names]
    if both:
        raise ValueError(f"expected {both[0]!r} to be added or removed, not both")
    return names


def _host_name(text: str) -> str:
    """Parse one name to the spelling in which names are compared."""
    name = text.removeprefix("-")
    address = parse_ip(name)
    is_host = _HOST.fullmatch(name) is not None and len(name) <= _LONGEST_HOST_NAME
    # An address with a zone, such as fe80::1%eth0, means something on its own machine alone.
    if "%" in name or not (address or is_host):
        raise ValueError(f"expected host names or addresses without ports; found {text!r}")
    sign = "-" if text.startswith("-") else ""
    return f"{sign}{address or name.lower()}"


def json_object(text: str) -> Mapping[str, object]:
    """Parse a JSON object."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f'expected a JSON object such as {{"eta": 0.1}} ({error})') from None
    if not isinstance(value, dict):
        raise ValueError('expected a JSON object such as {"eta": 0.1}')  # noqa: TRY004 - the error of all parsers
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        raise ValueError("expected a JSON object of finite numbers") from None
    return value


def threads(text: str) -> int:
    """Parse a number of threads; `auto` means the cores that this process may use."""
    if text.lower() == "auto":
        return count_cores()
    try:
        return integer(at_least=1, at_most=_MOST_THREADS)(text)
    except ValueError as error:
        raise ValueError(f"{error}, or auto") from None
