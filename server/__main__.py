"""`python -m server`: serves a run, or carries out a command of the authority, and exits with its code."""

from fedmx.command_line import Usage, parse
from fedmx.hyperparameters import Hyperparameters
from fedmx.program import run_program
from fedmx.settings import CommonSettings, PkiSettings, RunSettings, ServerSettings

_USAGE = Usage(
    "python -m server",
    "Serve one run of a federation. Settings come from the environment; a blank one has its default.",
    {
        "settings of the server": ServerSettings,
        "settings of a run": RunSettings,
        "hyperparameters": Hyperparameters,
        "settings of server and client": CommonSettings,
        "settings of the authority, for pki": PkiSettings,
    },
    {"pki": "issue, list, renew and revoke the federation's certificates"},
)


def main() -> None:
    """Do what the arguments say; all else comes from settings."""
    command, rest = parse(_USAGE)
    if command == "pki":
        from server.authority import command as pki  # noqa: PLC0415 - an authority needs no Flower, which takes long to import

        pki.main(rest)
        return
    from server import serving  # noqa: PLC0415 - see above

    serving.main()


if __name__ == "__main__":
    run_program(main)
