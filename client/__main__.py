"""`python -m client`: serves one node, or carries out a command."""

from collections.abc import Sequence

from client import commands, pki
from fedmx.command_line import Command, Program, parse
from fedmx.program import run_program
from fedmx.settings import ClientSettings, CommonSettings

_PROGRAM = Program(
    "python -m client",
    "Serve one node of a federation. Settings come from the environment; an empty one has its default.",
    {"settings of the client": ClientSettings, "settings of server and client": CommonSettings},
    {**commands.COMMANDS, "pki": Command(pki.SUMMARY, pki.add_arguments)},
)


def main(given: Sequence[str] | None = None) -> None:
    """Serve a node, or carry out the command in the arguments, by default those of this process."""
    arguments = parse(_PROGRAM, given)
    if arguments.command == "pki":
        pki.run(arguments)
        return
    if arguments.command:
        commands.run(arguments)
        return
    from client import serving  # noqa: PLC0415 - a command for certificates does not need what serving imports

    serving.main()


def run() -> None:
    """Run the program and exit with its code."""
    run_program(main)


if __name__ == "__main__":
    run()
