"""A setting is a field of a dataclass: how it is declared, and what it is called outside of Python.

A field `num_rounds` is the environment variable NUM_ROUNDS.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

HIDDEN = "(hidden)"
"""Shown in place of a secret value."""

Field = dataclasses.Field[Any]
S = TypeVar("S")


def setting(  # noqa: PLR0913 - what differs from setting to setting is named where it is declared
    default: object,
    parse: Callable[[str], object],
    meaning: str,
    *,
    shapes_model: bool = False,
    is_secret: bool = False,
    alias: str = "",
) -> Any:
    """Declare a field.

    Args:
        default: value of a setting that is unset or empty.
        parse: parser of its text.
        meaning: one line for docs, `.env` and `--help`.
        shapes_model: whether another value would have led to another model.
        is_secret: whether its value is hidden wherever settings are shown or recorded.
        alias: another name of the variable, which takes precedence.
    """
    metadata = {
        "parse": parse,
        "meaning": meaning,
        "shapes_model": shapes_model,
        "is_secret": is_secret,
        "alias": alias,
    }
    if isinstance(default, dict):
        return dataclasses.field(default_factory=default.copy, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def list_names(kind: type) -> list[str]:
    """Return the names of all variables of a settings class, aliases included."""
    fields = dataclasses.fields(kind)
    return [name for field in fields for name in (field.name.upper(), field.metadata["alias"]) if name]


def list_own(kind: type) -> list[Field]:
    """Return the fields that a settings class declares itself, without those that it inherits."""
    return [field for field in dataclasses.fields(kind) if field.name in kind.__annotations__]


def parse(kind: type[S], environ: Mapping[str, str]) -> tuple[S, list[str]]:
    """Parse settings.

    Returns:
        The settings, and a line for each problem. A setting that could not be parsed has its default, so that
        rules about several settings can be checked nevertheless.
    """
    values: dict[str, object] = {}
    problems: list[str] = []
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        name, text = _find_text(field, environ)
        if not text:
            continue
        try:
            values[field.name] = field.metadata["parse"](text)
        except ValueError as error:
            shown = HIDDEN if field.metadata["is_secret"] else repr(text)
            problems.append(f"{name}={shown}: {error}")
    return kind(**values), problems


def _find_text(field: Field, environ: Mapping[str, str]) -> tuple[str, str]:
    """Return the variable that sets a field, and its text; the text is empty if none does."""
    for name in (field.metadata["alias"], field.name.upper()):
        if text := environ.get(name, "").strip():
            return name, text
    return field.name.upper(), ""


def describe(settings: object) -> dict[str, object]:
    """Return settings by the names of their variables, as values that JSON can hold."""
    return {field.name.upper(): value for field, value in _list_values(settings)}


def describe_model(settings: object) -> dict[str, object]:
    """Return the settings that shape the model, as `describe` does."""
    return {
        field.name.upper(): value for field, value in _list_values(settings) if field.metadata["shapes_model"]
    }


def explain(settings: object) -> Iterator[tuple[str, str, str]]:
    """Yield each setting's variable, its value as text, and what it means."""
    for field, value in _list_values(settings):
        yield field.name.upper(), _as_text(value), field.metadata["meaning"]


def explain_own(kind: type) -> Iterator[tuple[str, str, str]]:
    """Yield the variable, default and meaning of each setting that a class declares itself."""
    own = {field.name.upper() for field in list_own(kind)}
    yield from (row for row in explain(kind()) if row[0] in own)


def _list_values(settings: object) -> Iterator[tuple[Field, object]]:
    for field in dataclasses.fields(settings):  # type: ignore[arg-type]
        value = _as_json(getattr(settings, field.name))
        yield field, HIDDEN if value and field.metadata["is_secret"] else value


def _as_json(value: object) -> object:
    if value is None:
        return ""
    if value == math.inf:
        # JSON has no infinity, and a wait without limit is written as 0.
        return 0.0
    if isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, tuple):
        return ",".join(value)
    return str(value)


def _as_text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
