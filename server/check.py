"""`python -m server.check`: says all that is wrong with the server's settings, as the server would."""

from fedmx.command_line import Program, parse
from fedmx.program import run_program
from fedmx.settings import ServerSettings, load
from server import strategies


def main() -> None:
    """Read the settings, and do nothing with them."""
    parse(Program("python -m server.check", "Report all problems of the server's settings."))
    load(ServerSettings, strategies.find_problems)


if __name__ == "__main__":
    run_program(main)
