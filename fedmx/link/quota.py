"""Limits what one node may send on one stream: replies, requests to repeat, and signs of life."""

import time
from collections.abc import Callable

from fedmx.errors import ProtocolError
from fedmx.link import silence


class Quota:
    """Counts what arrives on a stream, and refuses what nothing asked for.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        # One more than was asked: the node may owe a reply from an earlier stream.
        self._replies_left = 1
        self._asked = 0
        # Ids of the requests that lacked arrays, or whose replies did.
        self._lacking: set[str] = set()
        self._signs_of_life = 0
        self._bytes_up = 0

    def count_request(self, request_id: str) -> None:
        """Count a request, which entitles the node to one reply."""
        self._asked += 1
        self._replies_left += 1
        self._lacking.discard(request_id)

    def count_missing(self, request_id: str) -> None:
        """Count a message that lacked arrays of the other end, which entitles the node to send it again.

        Raises:
            ProtocolError: it lacked arrays before, or the node was not asked so often.
        """
        if request_id in self._lacking or len(self._lacking) > self._asked:
            raise ProtocolError("a message that lacks arrays again")
        self._lacking.add(request_id)
        self._replies_left += 1

    def count_reply(self) -> None:
        """Count a reply that begins.

        Raises:
            ProtocolError: there is no request that it could answer.
        """
        if not self._replies_left:
            raise ProtocolError("a reply without a request")
        self._replies_left -= 1

    def count_sign_of_life(self) -> None:
        """Count a frame `alive`.

        Raises:
            ProtocolError: the node sends more of them than it needs to, which keeps this end busy.
        """
        self._signs_of_life += 1
        elapsed_s = self._clock() - self._began
        if self._signs_of_life > 2 + 2 * elapsed_s / silence.SIGN_AFTER_S:
            raise ProtocolError(
                f"{self._signs_of_life} frames alive; expected one in {silence.SIGN_AFTER_S:g} s"
            )

    def count_bytes(self, count: int) -> None:
        """Count bytes that arrived."""
        self._bytes_up += count

    def take_bytes_up(self) -> int:
        """Return how many bytes arrived since the previous call."""
        count = self._bytes_up
        self._bytes_up = 0
        return count
