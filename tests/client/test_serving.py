"""The name of a node without NODE_NAME."""

import socket

import pytest

from client import serving


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("node-3.example.org", "node-3.example.org"),
        ("a" * 70, "a" * 64),
        ("", "node"),
        ("a host", "node"),
        ("-host", "node"),
    ],
)
def test_a_node_is_named_after_its_host_if_that_is_a_valid_name(
    monkeypatch: pytest.MonkeyPatch, host: str, name: str
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: host)
    assert serving._find_host_name() == name
