"""Everything that can go wrong and be mended by a person, each with the exit code it leads to.

Whatever is not a `FederationError` is a bug and keeps its traceback (exit code 1).
"""

from collections.abc import Iterable


class FederationError(Exception):
    """A failure that one line can explain: what was found, what was expected, what to do."""

    exit_code = 1


class SettingsError(FederationError):
    """Wrong settings or arguments; one line for each problem."""

    exit_code = 2

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


class DataError(FederationError):
    """A file or folder that is missing, damaged, or cannot be used."""

    exit_code = 2


class TooFewNodesError(FederationError):
    """Not enough nodes joined within CLIENT_WAIT_TIMEOUT."""

    exit_code = 3


class TrainingFailedError(FederationError):
    """A round that stayed without an admissible result, or the server's word that the run failed."""

    exit_code = 4


class UnreachableError(FederationError):
    """No server answered within SERVER_WAIT_TIMEOUT."""

    exit_code = 5


class RefusedError(FederationError):
    """The server does not take this node, and said why."""

    exit_code = 5


class ProtocolError(FederationError):
    """A peer broke the link's rules; its stream is closed, nothing else."""

    exit_code = 5


class StopSignal(BaseException):
    """SIGTERM, SIGINT or SIGHUP arrived. Not an `Exception`, so that no handler of failures swallows it."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.exit_code = 128 + number
        super().__init__(number)
