"""The limit of open files: the soft one is raised, and a hard one that is too low is named."""

import subprocess
import sys

import pytest

from tests.bounds import HANG_S

_CHECK = """
import resource, sys
from fedmx import log
from fedmx.errors import SettingsError
from fedmx.link import open_files

log.configure("INFO", "text")
resource.setrlimit(resource.RLIMIT_NOFILE, (64, int(sys.argv[1])))
try:
    open_files.check("MIN_CLIENTS", int(sys.argv[2]), 1000)
except SettingsError as error:
    print(error)
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


def check(hard: int, nodes: int) -> tuple[list[str], str]:
    """Check in a process with these limits; return what it printed, and what it logged."""
    command = [sys.executable, "-c", _CHECK, str(hard), str(nodes)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANG_S, check=True)
    return done.stdout.splitlines(), done.stderr


@pytest.mark.parametrize(
    ("hard", "soft"), [(20_000, 4096), (3000, 3000)], ids=["as many as are of use", "as many as allowed"]
)
def test_the_soft_limit_is_raised_so_that_a_thousand_nodes_fit(hard: int, soft: int) -> None:
    assert check(hard, 1000) == ([str(soft)], "")


def test_a_limit_that_a_run_cannot_begin_with_is_an_error_with_the_limit_it_needs() -> None:
    (error, soft), log = check(1024, 513)
    assert error.startswith("MIN_CLIENTS=513: the hard limit of open files is 1024, enough for 512 nodes; ")
    assert "at least 1026" in error
    assert (soft, log) == ("1024", "")


def test_a_limit_that_allows_fewer_nodes_than_a_server_accepts_is_a_warning() -> None:
    lines, log = check(1024, 2)
    assert lines == ["1024"]
    (line,) = log.splitlines()
    assert "WARNING few files may be open hard_limit=1024 nodes=512 expected=2000" in line


def test_more_nodes_than_a_server_accepts_are_an_error() -> None:
    (error, _), _ = check(20_000, 1001)
    assert error == "MIN_CLIENTS=1001: a server accepts 1000 nodes; expected at most that many"
