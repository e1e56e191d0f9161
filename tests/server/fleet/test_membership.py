"""Who may join a fleet, on a real SuperLink with TLS and authentication."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from fedmx.errors import DataError, RefusedError, UnreachableError
from fedmx.pki import ssh
from fedmx.pki.certificates import SITE
from fedmx.settings import environment
from fedmx.values import Address
from server.authority import fleet
from server.fleet.flwr import Flwr, SuperLink
from server.fleet.membership import Membership
from tests.bounds import HANG_S
from tests.fedmx.pki.papers import make_pki, open_authority
from tests.ports import find_free_port

BIN = Path(sys.executable).parent
QUIET = {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}


def start_superlink(folder: Path, port: int) -> "subprocess.Popen[bytes]":
    certs, secret = folder / "pki" / "server", folder / "pki" / "fleet" / "superlink" / fleet.SECRET_FILE
    options = {
        "port": port,
        "ssl-certfile": certs / "server.crt",
        "ssl-keyfile": certs / "server.key",
        "ssl-ca-certfile": certs / "authority.crt",
        "isolation": "process",
        "superexec-auth-secret-file": secret,
    }
    arguments = [f"--{name}={value}" for name, value in options.items()]
    more = ["--enable-supernode-auth", "--disable-runtime-dependency-installation"]
    with (folder / "superlink.log").open("wb") as log:
        return subprocess.Popen(
            [str(BIN / "flower-superlink"), *arguments, *more],
            env={**environment(), **QUIET, "FLWR_HOME": str(folder / "flwr")},
            stdout=log,
            stderr=log,
        )


@pytest.fixture
def flwr(tmp_path: Path) -> Iterator[Flwr]:
    """Flower's command line for a SuperLink of an authority with two sites."""
    fleet.write(make_pki(tmp_path / "pki", "north", "south"), tmp_path / "pki" / "fleet")
    port = find_free_port()
    superlink = start_superlink(tmp_path, port)
    authority = tmp_path / "pki" / "fleet" / "superlink" / "authority.crt"
    try:
        with SuperLink(Address("127.0.0.1", port), authority).configured() as made:
            wait_for_answer(made, superlink, tmp_path / "superlink.log")
            yield made
    finally:
        superlink.terminate()
        superlink.wait(HANG_S)


def wait_for_answer(flwr: Flwr, superlink: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + HANG_S
    while True:
        try:
            flwr.ask("list")
        except UnreachableError:
            assert superlink.poll() is None, log.read_text()
            assert time.monotonic() < deadline
        else:
            return


def start_supernode(folder: Path, flwr: Flwr, site: str) -> "subprocess.CompletedProcess[str]":
    """Run a SuperNode with a site's key, which must be refused."""
    key = folder / f"{site}.key"
    pki = folder / "pki"
    key.write_bytes(ssh.encode_private((pki / "sites" / site / "site.key").read_bytes()))
    return subprocess.run(
        [
            str(BIN / "flower-supernode"),
            f"--superlink={flwr.superlink.address}",
            f"--root-certificates={pki / 'server' / 'authority.crt'}",
            f"--auth-supernode-private-key={key}",
            f"--port={find_free_port()}",
            "--isolation=process",
        ],
        env=flwr.environment(),
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )


@pytest.mark.slow
def test_sites_are_registered_once_and_unregistered_when_they_are_revoked(
    flwr: Flwr, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    members = tmp_path / "pki" / "fleet" / "superlink" / fleet.MEMBERS_FILE
    registered = tmp_path / "registered.json"
    membership = Membership(flwr, registered)
    membership.update(members)
    before = registered.read_text()
    assert {one["site"] for one in json.loads(before).values()} == {"north", "south"}
    membership.update(members)
    assert registered.read_text() == before
    assert len(flwr.ask("supernode", "list")["nodes"]) == 2

    # As if the program had been killed after the SuperLink had registered the key.
    interrupted = json.loads(before)
    next(one for one in interrupted.values() if one["site"] == "south")["node_id"] = ""
    registered.write_text(json.dumps(interrupted))
    membership.update(members)
    assert json.loads(registered.read_text()) == json.loads(before)

    authority = open_authority(tmp_path / "pki")
    authority.revoke("south")
    fleet.write(authority, tmp_path / "pki" / "fleet")
    membership.update(members)
    assert {one["site"] for one in json.loads(registered.read_text()).values()} == {"north"}
    for site in ("south", "east"):
        if site == "east":
            authority.issue_site(site)
        refused = start_supernode(tmp_path, flwr, site)
        assert refused.returncode != 0
        assert "Failed to initialize the connection" in refused.stdout + refused.stderr

    # Flower refuses a key that was unregistered, which must not keep out another site.
    key = load_pem_private_key((authority.folder_of(SITE, "south") / "site.key").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    authority.issue_site("south", key)
    authority.issue_site("west")
    fleet.write(authority, tmp_path / "pki" / "fleet")
    with pytest.raises(RefusedError, match=r"cannot register south: .*NAME=south"):
        membership.update(members)
    assert {one["site"] for one in json.loads(registered.read_text()).values()} == {"north", "east", "west"}


def test_a_superlink_that_is_not_up_is_reported_in_one_line(tmp_path: Path) -> None:
    authority = make_pki(tmp_path / "pki").folder_of("server") / "authority.crt"
    superlink = SuperLink(Address("127.0.0.1", find_free_port()), authority)
    with superlink.configured() as flwr, pytest.raises(UnreachableError) as failure:
        flwr.ask("list")
    assert len(str(failure.value).splitlines()) == 1
    assert str(superlink.address) in str(failure.value)
    missing = SuperLink(superlink.address, tmp_path / "none.crt")
    with pytest.raises(DataError, match=r"none\.crt: no such file"), missing.configured():
        pass
