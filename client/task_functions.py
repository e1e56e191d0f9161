"""A task's functions: finds those that it defines, and passes them what their parameters name."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar, cast

from fedmx.errors import DataError, SettingsError
from fedmx.files import expected_readable
from fedmx.schema import Schema

T = TypeVar("T")
Options = Mapping[str, Any]


@dataclass(frozen=True)
class Arguments:
    """What a task's functions get by name, besides their own arguments.

    Attributes:
        module: the task's.
        options: TASK_OPTIONS.
        schema: what the sites agreed on.

    Raises:
        SettingsError: a function has a parameter `schema`, but the task has no `columns`.
    """

    module: ModuleType
    options: Options
    schema: Schema | None

    def choose(self, function: Callable[..., Any], **others: Any) -> dict[str, Any]:
        """Return the arguments for which a function has a parameter."""
        arguments = pass_by_name(function, options=self.options, schema=self.schema, **others)
        if "schema" in arguments and self.schema is None:
            raise SettingsError(
                f"TASK={self.module.__name__}: {function.__name__} has the parameter schema, but the task has"
                " no columns(data_dir); expected one, which returns what the sites agree on"
            )
        return arguments

    def bind(self, function: Callable[..., T]) -> Callable[..., T]:
        """Return a function with these arguments bound to it."""
        arguments = self.choose(function)
        return partial(function, **arguments) if arguments else function


def find_optional(module: ModuleType, name: str) -> Callable[..., Any] | None:
    """Return an optional function of a task; None if the task does not define it.

    Raises:
        SettingsError: it is something else.
    """
    function = getattr(module, name, None)
    # A task may import a module of this name.
    if function is None or isinstance(function, ModuleType):
        return None
    if not callable(function):
        raise SettingsError(
            f"TASK={module.__name__}: {name} is {describe(function)}; expected a function or no {name}"
        )
    return cast(Callable[..., Any], function)


def pass_by_name(function: Callable[..., Any], **arguments: Any) -> dict[str, Any]:
    """Return those of the arguments for which a task's function has a parameter."""
    try:
        parameters = inspect.signature(function).parameters
    # Some functions written in C have no signature.
    except ValueError:
        return {}
    return {name: value for name, value in arguments.items() if name in parameters}


@contextmanager
def reading(data_dir: Path) -> Iterator[None]:
    """Name DATA_DIR in an error of the system."""
    try:
        yield
    except OSError as error:
        expected = f"; {expected_readable()}" if isinstance(error, PermissionError) else ""
        raise DataError(f"DATA_DIR={data_dir}: cannot be read: {error}{expected}") from error


def describe(value: object) -> str:
    """Describe a value's type for an error message."""
    return "None" if value is None else f"an object of type {type(value).__name__}"
