"""Which Host headers a status server answers."""

import pytest

from server.status.hosts import HostNames

HOSTS = HostNames(["fl.example.org", "10.1.2.3", "2001:DB8::7"])


@pytest.mark.parametrize(
    "header",
    [
        "localhost",
        "localhost:8081",
        "LOCALHOST.:8081",
        "fedmx.localhost",
        "127.0.0.1:8081",
        "127.9.9.9",
        "[::1]:8081",
        "[0:0::1]",
        "server:8081",
        "FL.example.org",
        "10.1.2.3:1",
        "[2001:db8::7]:8081",
    ],
)
def test_names_of_this_server_are_answered(header: str) -> None:
    assert HOSTS.find_problem([header]) is None


@pytest.mark.parametrize(
    "header",
    [
        "",
        ":8081",
        "evil.example.org",
        "fl.example.org.evil.org",
        "localhost.evil.org",
        "notlocalhost",
        "127.0.0.1.evil.org",
        "10.1.2.4",
        "0.0.0.0:8081",
        "localhost:8081:1",
        "localhost:port",
        "user@localhost",
        "localhost/",
        "2001:db8::7",
        "[localhost]evil",
        "\udcff",
    ],
)
def test_every_other_name_is_refused_in_one_line(header: str) -> None:
    problem = HOSTS.find_problem([header])
    assert problem is not None
    assert problem.isprintable()
    assert "STATUS_NAMES" in problem


@pytest.mark.parametrize("headers", [[], ["localhost", "localhost"]])
def test_there_is_exactly_one_host(headers: list[str]) -> None:
    problem = HOSTS.find_problem(headers)
    assert problem is not None
    assert str(len(headers)) in problem
