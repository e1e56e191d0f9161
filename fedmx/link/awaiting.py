"""The wait for the replies to the requests of one step, which the thread of the streams settles."""

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future

from flwr.app import Error

from fedmx.link.quorum import Absence, Cause, Grace, Quorum
from fedmx.link.request import Answer, Request

_SHORTEST_S = 0.05


class Awaiting:
    """The replies that a step awaits.

    Args:
        requests: one for each reply.
        timeout_s: how long each reply is awaited while no bytes of it or its request travel; may be infinite.
        quorum: how many replies are enough; None: all.

    Attributes:
        answered: how many answers have arrived, errors included.
    """

    def __init__(
        self, requests: Sequence[Request] = (), timeout_s: float = math.inf, quorum: Quorum | None = None
    ) -> None:
        self._requests = requests
        self._began = time.monotonic()
        self._timeout_s = timeout_s
        self._grace = Grace(quorum)
        self._changed = threading.Condition()
        self._open = len(requests)
        self._succeeded = 0
        self.answered = 0
        for request in requests:
            request.done.add_done_callback(self._note)

    @property
    def grace_ends(self) -> float:
        """Monotonic seconds at which the wait ends although replies are missing; may be infinite."""
        return self._grace.ends

    @property
    def travelling(self) -> int:
        """How many of the requests, or their replies, are on their way."""
        return sum(one.travel.is_on and not one.done.done() for one in self._requests)

    def wait(self, watch: Callable[[], float] = lambda: math.inf) -> None:
        """Return once every request is answered or given up, or the time is over.

        Args:
            watch: called meanwhile, again after at most the seconds that it returns.
        """
        while self._wait_once(watch()):
            pass

    def _wait_once(self, pause_s: float) -> bool:
        """Wait until something changes, at most for a pause; return whether the wait goes on."""
        with self._changed:
            if self._open and (left_s := self._find_end() - time.monotonic()) > 0:
                # While bytes travel, a reply's time does not run: its end is still unknown.
                pause_s = min(pause_s, max(left_s, _SHORTEST_S))
                self._changed.wait(None if pause_s == math.inf else pause_s)
            return bool(self._open) and self._find_end() > time.monotonic()

    def find_deadlines(self) -> dict[int, float]:
        """Return when the wait for each missing reply ends: node id -> monotonic seconds."""
        return {one.node_id: self._find_deadline(one) for one in self._requests if not one.done.done()}

    def find_absences(self) -> Mapping[int, Absence]:
        """Return why each reply is missing, by node id. Called after the wait."""
        is_left_out = time.monotonic() >= self._grace.ends
        cause = Cause.LEFT_OUT if is_left_out else Cause.LATE
        absences = {}
        for request in self._requests:
            if not request.done.done():
                absences[request.node_id] = Absence(cause, request.progress(), request.travel.seconds)
            elif request.absence is not None:
                absences[request.node_id] = request.absence
        return absences

    def end(self) -> None:
        """Release the requests, each of which holds a model and refers to this wait."""
        self._requests = ()

    def _note(self, done: "Future[Answer | None]") -> None:
        # An error of this server is raised where the replies are pulled.
        answer = None if done.exception() else done.result()
        with self._changed:
            self._open -= 1
            if answer is not None:
                self.answered += 1
                self._succeeded += not isinstance(answer.content, Error)
            # The waiting thread is woken only if its wait ends, or ends at another time.
            if self._grace.note(self._succeeded) or not self._open:
                self._changed.notify()

    def _find_end(self) -> float:
        """Return when the wait ends, as far as it is known now.

        A reply whose own time is over still counts while the wait for others lasts.
        """
        deadlines = self.find_deadlines().values() if self._timeout_s < math.inf else ()
        return min(max(deadlines, default=math.inf), self._grace.ends)

    def _find_deadline(self, request: Request) -> float:
        return self._began + self._timeout_s + request.travel.seconds
