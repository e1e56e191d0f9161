"""`python -m server`: serves one run, or carries out a command for certificates or for runs on disk."""

from collections.abc import Sequence

from fedmx.command_line import Command, Program, parse
from fedmx.deployment_settings import PkiSettings
from fedmx.hyperparameters import Hyperparameters
from fedmx.program import run_program
from fedmx.run_settings import RunSettings
from fedmx.settings import CommonSettings, ModelSettings, ServerSettings, WatchSettings
from server import events
from server.authority import command as authority
from server.fleet import command as fleet
from server.run_commands import command as runs
from server.watching import command as watching

_AUTHORITY_SETTINGS = {"settings of the authority, for pki": PkiSettings}
_PROGRAM = Program(
    "python -m server",
    "Serve one run of a federation. Settings come from the environment; an empty one has its default.",
    {
        "settings of the server": ServerSettings,
        "settings of a run": RunSettings,
        "hyperparameters": Hyperparameters,
        "settings of server and client": CommonSettings,
        **_AUTHORITY_SETTINGS,
    },
    {
        "pki": Command(authority.SUMMARY, authority.add_arguments, _AUTHORITY_SETTINGS),
        "runs": Command(runs.SUMMARY, runs.add_arguments, runs.SETTINGS),
        "events": Command(events.SUMMARY, events.add_arguments, {"settings": ModelSettings}),
        "fleet": Command(fleet.SUMMARY, fleet.add_arguments, fleet.SETTINGS),
        "watch": Command(watching.SUMMARY, watching.add_arguments, {"settings": WatchSettings}),
    },
)
_COMMANDS = {
    "pki": authority.run,
    "runs": runs.run,
    "events": events.run,
    "fleet": fleet.run,
    "watch": watching.run,
}


def main(given: Sequence[str] | None = None) -> None:
    """Serve a run, or carry out the command in the arguments, by default those of this process."""
    arguments = parse(_PROGRAM, given)
    if arguments.command is not None:
        _COMMANDS[arguments.command](arguments)
        return
    from server import serving  # noqa: PLC0415 - commands do not need Flower, which takes long to import

    serving.main()


def run() -> None:
    """Run the program and exit with its code."""
    run_program(main)


if __name__ == "__main__":
    run()
