"""The command line of a program: one argparse tree, whose help lists commands and settings.

All other configuration comes from settings in the environment.
"""

import argparse
import dataclasses
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from fedmx import __version__
from fedmx.fields import explain
from fedmx.program import ArgumentParser

# argparse has no public name for this type.
Commands: TypeAlias = "argparse._SubParsersAction[ArgumentParser]"  # noqa: SLF001 - see above


@dataclass(frozen=True)
class Command:
    """A command of a program.

    Attributes:
        summary: what it does, in one line.
        add_arguments: adds its arguments or its own commands to its parser.
        settings: classes of settings that it reads, by their heading in the help.
    """

    summary: str
    add_arguments: Callable[[ArgumentParser], None]
    settings: Mapping[str, type] = field(default_factory=dict)


@dataclass(frozen=True)
class Program:
    """A program.

    Attributes:
        name: how a user types it.
        description: what it does.
        settings: classes of settings that it reads, by their heading in the help.
        commands: its commands, by name.
    """

    name: str
    description: str
    settings: Mapping[str, type] = field(default_factory=dict)
    commands: Mapping[str, Command] = field(default_factory=dict)


def parse(program: Program, arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse a program's arguments, by default those of this process.

    Returns:
        The arguments; `command` is the name of the command, or None.

    Raises:
        SettingsError: the program has no such arguments.
    """
    if arguments is None:
        arguments = sys.argv[1:]
    parser = _make_parser(program)
    # argparse would report `--rounds 5` as an invalid command `5`.
    if arguments and arguments[0] not in {*program.commands, "-h", "--help", "--version"}:
        parser.error(
            f"unrecognized arguments: {' '.join(arguments)}; settings come from the environment, for example"
            " ROUNDS=5"
        )
    return parser.parse_args(arguments)


def _make_parser(program: Program) -> ArgumentParser:
    parser = ArgumentParser(
        prog=program.name,
        usage=f"{program.name} [--help] [--version]" + (" [COMMAND ...]" if program.commands else ""),
        description=program.description,
        epilog=_describe_settings(program.settings),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(command=None)
    parser.add_argument("--version", action="version", version=f"fedmx {__version__}")
    if program.commands:
        commands = add_commands(parser, "command", is_required=False)
        for name, command in program.commands.items():
            command.add_arguments(add_command(commands, name, command.summary, command.settings))
    return parser


def add_commands(parser: ArgumentParser, field: str, *, is_required: bool = True) -> Commands:
    """Let a parser accept commands.

    Args:
        parser: the parser.
        field: attribute of the parsed arguments with the command's name.
        is_required: whether a command must be given.
    """
    return parser.add_subparsers(
        title="commands",
        dest=field,
        metavar="COMMAND",
        required=is_required,
        prog=parser.prog,
        parser_class=ArgumentParser,
    )


def add_command(
    commands: Commands, name: str, summary: str, settings: Mapping[str, type] | None = None
) -> ArgumentParser:
    """Add a command and return its parser.

    Args:
        commands: the commands that it belongs to.
        name: how a user types it.
        summary: what it does, in one line that starts with a lower-case letter.
        settings: classes of settings that it reads, by their heading in the help.
    """
    return commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=_describe_settings(settings or {}),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def _describe_settings(kinds: Mapping[str, type]) -> str:
    return "\n\n".join(_describe_kinds(kinds))


def _describe_kinds(kinds: Mapping[str, type]) -> Iterator[str]:
    """Yield a block of lines for each class: the fields that it declares itself."""
    for heading, kind in kinds.items():
        declared = {declared.name.upper() for declared in dataclasses.fields(kind)}
        own = declared & {name.upper() for name in kind.__annotations__}
        rows = [(f"{name}={value}", meaning) for name, value, meaning in explain(kind()) if name in own]
        width = max(len(name) for name, _ in rows)
        yield "\n".join([f"{heading}:", *(f"  {name:<{width}}  {meaning}" for name, meaning in rows)])
