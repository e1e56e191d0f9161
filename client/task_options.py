"""Checks TASK_OPTIONS against the names and defaults that a task has."""

import difflib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from fedmx.errors import DataError, SettingsError
from fedmx.log import printable

_KINDS: Mapping[type, str] = {
    str: "a text",
    bool: "true or false",
    int: "an integer",
    float: "a number",
    list: "a list",
    dict: "an object",
}


def fill_in(options: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options, and the default of each that is not set.

    Args:
        options: TASK_OPTIONS.
        defaults: every option's name -> its default. A value must have the default's type; elements of a list
            must have that of the default's first element, or be texts if the default is empty.

    Raises:
        SettingsError: an option is unknown or of another type.
    """
    problems = [problem for name in options if (problem := _find_problem(name, options[name], defaults))]
    if problems:
        raise SettingsError(problems)
    return {**defaults, **options}


@contextmanager
def naming_task_options() -> Iterator[None]:
    """Name TASK_OPTIONS in an error of a reader whose remedy is an option.

    Raises:
        DataError: with where options are set.
    """
    try:
        yield
    except DataError as error:
        if " option" not in str(error):
            raise
        raise DataError(f"{error} (options are in TASK_OPTIONS of the server)") from None


def _find_problem(name: str, value: Any, defaults: Mapping[str, Any]) -> str | None:
    shown = f"TASK_OPTIONS: {printable(name)}"
    if name not in defaults:
        near = difflib.get_close_matches(name, defaults, 1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        return f"{shown}: not an option of this task{hint}; expected some of {', '.join(defaults)}"
    default = defaults[name]
    if not _has_type(value, type(default)):
        return f"{shown}={printable(repr(value))}: expected {_KINDS[type(default)]}"
    if isinstance(default, list):
        kind = type(default[0]) if default else str
        if not all(_has_type(element, kind) for element in value):
            return f"{shown}={printable(repr(value))}: expected a list, each element {_KINDS[kind]}"
    return None


def _has_type(value: Any, kind: type) -> bool:
    if isinstance(value, bool) or kind is bool:
        return isinstance(value, bool) and kind is bool
    return isinstance(value, int | float if kind is float else kind)
