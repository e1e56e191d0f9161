"""The command line of the programs: `--help` lists commands and settings, `--version` prints the version.

Everything else that a program needs comes from settings in the environment.
"""

import argparse
import dataclasses
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from fedmx import __version__
from fedmx.fields import explain
from fedmx.program import ArgumentParser


@dataclass(frozen=True)
class Usage:
    """What a program is, for its help.

    Attributes:
        program: how it is typed.
        description: what it does, in one line.
        settings: classes of settings that it reads, by the heading of each in the help.
        commands: what each of its commands does, by name.
    """

    program: str
    description: str
    settings: Mapping[str, type] = field(default_factory=dict)
    commands: Mapping[str, str] = field(default_factory=dict)


def parse(usage: Usage) -> tuple[str, Sequence[str]]:
    """Parse this process's arguments.

    Returns:
        The command, empty if none is given, and the command's own arguments.

    Raises:
        SettingsError: the program has no such arguments.
    """
    arguments = sys.argv[1:]
    # A command parses its own arguments, `--help` among them, and is imported only when it is asked for.
    if arguments and arguments[0] in usage.commands:
        return arguments[0], arguments[1:]
    parser = ArgumentParser(
        prog=usage.program,
        usage=f"{usage.program} [--help] [--version]" + (" [COMMAND ...]" if usage.commands else ""),
        description=usage.description,
        epilog="\n\n".join([*_describe_commands(usage), *_describe_settings(usage.settings)]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"fedmx {__version__}")
    _, unknown = parser.parse_known_args(arguments)
    if unknown:
        found = " ".join(unknown)
        parser.error(
            f"unrecognized arguments: {found}; settings come from the environment, for example ROUNDS=5"
        )
    return "", []


def _describe_commands(usage: Usage) -> Iterator[str]:
    if usage.commands:
        rows = [f"  {name}  {text}" for name, text in usage.commands.items()]
        yield "\n".join(["commands, each with a --help of its own:", *rows])


def _describe_settings(kinds: Mapping[str, type]) -> Iterator[str]:
    """Build a block of lines for each class: the fields that it declares itself."""
    for heading, kind in kinds.items():
        own = {declared.name.upper() for declared in dataclasses.fields(kind)} & {
            name.upper() for name in kind.__annotations__
        }
        rows = [(f"{name}={value}", meaning) for name, value, meaning in explain(kind()) if name in own]
        width = max(len(name) for name, _ in rows)
        yield "\n".join([f"{heading}:", *(f"  {name:<{width}}  {meaning}" for name, meaning in rows)])
