"""The servers and nodes of a test of TLS, with valid credentials and with wrong ones."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from fedmx.errors import FederationError
from fedmx.pki import credentials
from fedmx.pki.access import PeerVerifier
from fedmx.pki.authority import Authority
from fedmx.pki.certificates import SITE
from fedmx.pki.credentials import Credentials
from fedmx.values import Address
from tests.fedmx.link.loopback import FOREVER_S, Hub, Node
from tests.fedmx.pki.papers import LONG_AGO, credentials_of, open_authority


def past(authority: Authority, folder: Path, role: str) -> Credentials:
    """Return credentials that were issued 50 days ago and expired 20 days ago."""
    shutil.copytree(authority.folder / "authority", folder / "authority")
    late = open_authority(folder, LONG_AGO + timedelta(days=50), certificate_days=30.0)
    if role == "server":
        late.issue_server()
    else:
        late.issue_site("a")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(credentials, "find_date_problem", lambda *_: None)
        return credentials_of(late, role if role == "server" else "a")


class Stage:
    """The servers and nodes of one test.

    Args:
        open_hub: opens a server.
        authority: of the federation.
        other: another federation's.
        folder: of this test's files.
    """

    def __init__(
        self, open_hub: Callable[..., Hub], authority: Authority, other: Authority, folder: Path
    ) -> None:
        self._open_hub = open_hub
        self._folder = folder
        self.server, self.site = credentials_of(authority), credentials_of(authority, "a")
        self.other_server, self.other_site = credentials_of(other), credentials_of(other, "a")
        self.past_server = past(authority, folder / "server", "server")
        self.past_site = past(authority, folder / "site", SITE)
        self.false_server = replace(self.site, name="server")  # a site that passes itself off as it
        self.strange_server = replace(self.server, authority=self.other_server.authority)

    def open(self, credentials: Credentials | None) -> Hub:
        return self._open_hub(
            verifier=PeerVerifier(credentials, self._folder / "revoked.txt") if credentials else None
        )


def end_of(address: Address, credentials: Credentials | None, **options: Any) -> FederationError | None:
    """Return how a node ended, which must be long before its wait for the server is over."""
    return (
        Node(address, "x", credentials=credentials, **{"wait_timeout_s": FOREVER_S, **options}).serve().join()
    )
