"""User-facing errors and the exit code of each.

Any other exception is a bug: it keeps its traceback, and the exit code is 1.
"""

from collections.abc import Iterable


class FederationError(Exception):
    """An error that one line explains: what was found, what was expected, what to do."""

    exit_code = 1


class SettingsError(FederationError):
    """Invalid settings or arguments; one line for each problem."""

    exit_code = 2

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


class DataError(FederationError):
    """A file or folder is missing, damaged or unusable."""

    exit_code = 2


class TooFewNodesError(FederationError):
    """Too few nodes joined within CLIENT_WAIT_TIMEOUT."""

    exit_code = 3


class TrainingFailedError(FederationError):
    """A round has no admissible result, or, at a node, the server reports that the run failed."""

    exit_code = 4


class UnreachableError(FederationError):
    """No server answered within SERVER_WAIT_TIMEOUT."""

    exit_code = 5


class RefusedError(FederationError):
    """The server refused this node, for the reason in the message."""

    exit_code = 5


class ProtocolError(FederationError):
    """A peer violated the link's protocol; only its own stream is closed."""

    exit_code = 5


class StopSignal(BaseException):
    """SIGTERM, SIGINT or SIGHUP arrived. Not an `Exception`, so that no handler of errors swallows it."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.exit_code = 128 + number
        super().__init__(number)
