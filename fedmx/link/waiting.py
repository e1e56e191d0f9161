"""A node's wait for its server: how long it lasts, what the node sees meanwhile, and when it logs that."""

import math
import time
from collections.abc import Callable

from fedmx.errors import RefusedError, UnreachableError
from fedmx.log import warn
from fedmx.parsing import Address

# The first line is for a person who watches a client start; later ones come less and less often.
_FIRST_REPORT_S, _SECOND_REPORT_S, _LONGEST_PAUSE_S = 5.0, 30.0, 300.0
_TLS_FAULTS, _TLS_PATIENCE_S = 3, 2.0


class Wait:
    """The wait for a server that does not answer.

    Args:
        address: the server's.
        timeout_s: how long to wait; infinity is without limit.
        clock: monotonic seconds.

    Attributes:
        cause: what was seen at the latest attempt.
    """

    def __init__(
        self, address: Address, timeout_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._address = address
        self._timeout_s = timeout_s
        self._clock = clock
        self.cause = "nothing came back"
        self._tls_fault: str | None = None
        self._tls_fault_since, self._tls_fault_count = 0.0, 0
        self.restart()

    def restart(self) -> None:
        """Wait for the whole time again: the server was there until now."""
        self._since = self._clock()
        self._report_at, self._pause_s = self._since + _FIRST_REPORT_S, _SECOND_REPORT_S

    @property
    def left_s(self) -> float:
        """How long the wait still lasts."""
        return self._since + self._timeout_s - self._clock()

    def report(self) -> None:
        """Log what is awaited, for how long by now and until when, where such a line is due."""
        now = self._clock()
        if now < self._report_at:
            return
        self._report_at = now + self._pause_s
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
        warn(
            "still connecting",
            address=self._address,
            waited_s=round(now - self._since),
            left_s=None if math.isinf(self._timeout_s) else round(self.left_s),
            cause=self.cause,
            SERVER_WAIT_TIMEOUT=0 if math.isinf(self._timeout_s) else self._timeout_s,
        )

    def note_tls_fault(self, fault: str | None, *, is_member: bool) -> None:
        """Note what is wrong with TLS at the server's address, if anything is.

        Args:
            fault: what is wrong; None where nothing is, or where nothing answers.
            is_member: whether the server has welcomed this node before. Then the certificates are right, and
                what answers now does so in the server's place, or one of the clocks is wrong for a while.

        Raises:
            RefusedError: a node that was never a member sees the same fault for a while: not just once, as
                while a server starts or ends.
        """
        now = self._clock()
        if fault != self._tls_fault:
            self._tls_fault, self._tls_fault_since, self._tls_fault_count = fault, now, 0
        if fault is None:
            return
        self.cause = f"TLS: {fault}"
        self._tls_fault_count += 1
        is_lasting = self._tls_fault_count >= _TLS_FAULTS and now - self._tls_fault_since >= _TLS_PATIENCE_S
        if is_lasting and not is_member:
            raise RefusedError(f"SERVER_ADDRESS={self._address}: {self.cause}")

    def error(self) -> UnreachableError:
        """Return the error of a wait that is over."""
        return UnreachableError(
            f"SERVER_ADDRESS={self._address}: no server answered within {self._timeout_s:g} s"
            f" (SERVER_WAIT_TIMEOUT): {self.cause}"
        )
