"""Runs an engine that has a server program and a node program, both in one module of this package."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.flower_app.null_app.stopwatch import find_gate
from bench.outcome import Job, Outcome, count_rounds, is_over, reduce_marks
from bench.processes import Children, MeasurementError, free_port, is_listening, wait_until

_START_S = 60.0


def _prepare_nothing(_: Path) -> Sequence[str]:
    return ()


def _lead_there_directly(_: Children, port: int) -> int:
    return port


@dataclass(frozen=True)
class Program:
    """The programs of an engine.

    Attributes:
        module: takes `server PORT SIZE ROUNDS NODES MARKS`, with the warm-up in ROUNDS, or
            `node PORT SIZE FIRST COUNT`, a process that holds COUNT nodes.
        prepare: creates what they need in a folder, and returns additional arguments of both.
        env: the server's environment, in addition to the inherited one.
        node_processes: how many processes hold the nodes; 0: one for each.
        lay_line: starts what is between the nodes and the server's port, and returns the port to dial.
    """

    module: str
    prepare: Callable[[Path], Sequence[str]] = _prepare_nothing
    env: Mapping[str, str] = field(default_factory=dict)
    node_processes: int = 0
    lay_line: Callable[[Children, int], int] = _lead_there_directly


class Play:
    """The running programs of one job, whose rounds are played when they are asked for. It is a context.

    Args:
        job: what to measure.
        program: the engine's.
    """

    def __init__(self, job: Job, program: Program) -> None:
        self.job = job
        self._program = program
        self._children = Children()
        self._marks = self._children.folder / "marks.jsonl"
        self._failure: str | None = None

    def __enter__(self) -> Self:
        find_gate(self._marks).write_text("0")
        try:
            self._start()
        except MeasurementError as error:
            self._failure = str(error)
        except BaseException:
            self._children.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._children.__exit__(kind, error, traceback)

    def play(self, rounds: int) -> None:
        """Let the rounds up to this number be played, and wait for their end; 0 is the warm-up."""
        find_gate(self._marks).write_text(str(rounds + 1))
        try:
            wait_until(lambda: self._is_done(rounds + 1), self.job.limit_s, "rounds", every_s=0.05)
        except MeasurementError as error:
            self._failure = self._failure or str(error)

    def read(self) -> Outcome:
        """Read the stopwatch."""
        return reduce_marks(self.job, self._marks, self._failure)

    def _start(self) -> None:
        job, children, program = self.job, self._children, self._program
        extra = program.prepare(children.folder)
        port = free_port()
        arguments = (str(port), job.size, str(job.rounds + 1), str(job.nodes), str(self._marks), *extra)
        self._server = children.start_module("server", program.module, "server", *arguments, env=program.env)
        wait_until(self._is_up(port), _START_S, "the server", every_s=0.05)
        dialled = program.lay_line(children, port)
        processes = program.node_processes or job.nodes
        for number in range(processes):
            first, end = (job.nodes * index // processes for index in (number, number + 1))
            arguments = (str(dialled), job.size, str(first), str(end - first), *extra)
            children.start_module(f"nodes-{number}", program.module, "node", *arguments)

    def _is_up(self, port: int) -> Callable[[], bool]:
        return lambda: is_listening(port) or self._has_ended()

    def _is_done(self, rounds: int) -> bool:
        if self._failure or count_rounds(self._marks) >= rounds or is_over(self._marks):
            return True
        return self._has_ended()

    def _has_ended(self) -> bool:
        if self._server.poll() is not None:
            raise MeasurementError(f"the server ended: {self._children.tail('server')}")
        return False


def measure(job: Job, program: Program) -> Outcome:
    """Run the programs of an engine, and read the server's stopwatch."""
    with Play(job, program) as play:
        play.play(job.rounds)
        return play.read()


def measure_in_turn(plays: Sequence[Play]) -> list[Outcome]:
    """Play the rounds of several engines in blocks, in turn: a change of the machine's speed affects all."""
    rounds = max(play.job.rounds for play in plays)
    block = max(play.job.block for play in plays) or rounds
    for number in (0, *range(block, rounds + 1, block)):
        for play in plays:
            play.play(number)
    return [play.read() for play in plays]
