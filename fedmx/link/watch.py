"""What a server does every two seconds: signs of life, and checks of nodes, transfers and sites' access."""

import asyncio
import functools
from collections.abc import Iterable, Mapping
from typing import Any

from fedmx.link import connections
from fedmx.link.clocks import Clocks
from fedmx.link.session import Session
from fedmx.link.shared import Shared
from fedmx.pki.access import PeerVerifier

PERIOD_S = 2.0


class Watch:
    """Sends signs of life, and ends the sessions whose node is gone or has lost its access.

    Args:
        sessions: those that are open; its owner adds and removes them.
        shared: by all sessions.
    """

    def __init__(self, sessions: Mapping[Session, Any], shared: Shared) -> None:
        self._sessions = sessions
        self._shared = shared
        self._clocks = Clocks()

    async def run(self) -> None:
        """Check until cancelled."""
        while True:
            await asyncio.sleep(PERIOD_S)
            self._shared.refusals.report()
            if self._shared.events is not None:
                self._shared.events.report()
            sessions = list(self._sessions)
            self._check_connections(sessions)
            if self._shared.verifier is not None:
                self._clocks.check()
                self._check_access(sessions, self._shared.verifier)

    def report_now(self) -> None:
        """Log the warnings and the events that were only counted so far."""
        self._shared.refusals.report_now()
        if self._shared.events is not None:
            self._shared.events.report_now()
        self._clocks.report_now()

    def _check_connections(self, sessions: Iterable[Session]) -> None:
        # The kernel is asked at most once for all sessions.
        measure = functools.cache(connections.measure)
        for session in sessions:
            session.check_connection(PERIOD_S, measure)

    def _check_access(self, sessions: Iterable[Session], verifier: PeerVerifier) -> None:
        for session in sessions:
            session.check_access(verifier)
        # The nodes whose stream broke before their site lost its access.
        for member in self._shared.roster.list_awaited():
            has_lost_access = member.site is not None and verifier.find_problem(member.site) is not None
            if has_lost_access and self._shared.roster.expel(member):
                self._shared.note("node expelled", "", member.site, member)
                self._shared.requests.give_up(member.node_id)
