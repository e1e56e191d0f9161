"""Certificates in a stack: when they are reissued, and a run without them."""

import re

import pytest
from cryptography import x509

from fedmx.pki import signing
from fedmx.pki.server_names import ALWAYS_NAMED
from tests.compose.stack import Stack

pytestmark = pytest.mark.compose


def ensure(stack: Stack, **settings: object) -> list[str]:
    """Start the service that issues certificates, and return what it issued."""
    up = stack.up("pki", **settings)
    assert up.returncode == 0, up.stdout
    found = r"(?:created|issued a certificate to) (the server|site [\w-]+|the authority)"
    return re.findall(found, up.stdout)


def test_the_servers_certificate_is_reissued_when_its_names_change_or_it_expires_soon(stack: Stack) -> None:
    assert ensure(stack) == ["the authority", "the server", "site local"]
    assert ensure(stack) == []
    named = {"SERVER_NAMES": "fl.example.org, 192.0.2.7"}
    assert ensure(stack, **named) == ["the server"]
    pem = stack.run_alone("server", "cat", "/certs/server.crt").stdout
    certificate = x509.load_pem_x509_certificate(pem.encode())
    assert set(signing.hosts_in(certificate)) == {*ALWAYS_NAMED, "fl.example.org", "192.0.2.7"}
    assert ensure(stack) == [], "an up without names changes nothing"
    assert "nothing to renew" in stack.make("pki-renew").stdout
    assert stack.run_alone("server", "cat", "/certs/server.crt").stdout == pem
    assert ensure(stack, RENEW_DAYS=400) == ["the server", "site local"]
    listed = stack.make("pki-list").stdout
    states = re.findall(r"^server +server +(\w+)", listed, re.MULTILINE)
    assert states == ["current", "replaced", "replaced"]


def test_without_certificates_a_stack_trains_and_warns(stack: Stack) -> None:
    up = stack.up("--scale", "client=2", LINK_SECURITY="insecure", NUM_ROUNDS=1, LOCAL_EPOCHS=1)
    assert up.returncode == 0, up.stdout
    warning = "WARNING LINK_SECURITY=insecure: anyone who can reach this connection can read it"
    for service, count in (("server", 1), ("client", 2)):
        assert stack.log(service).count(warning) == count
    [line] = stack.read_history()
    assert {node["name"] for node in line["nodes"]} == {c.host for c in stack.containers("client")}
