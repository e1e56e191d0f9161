"""`make watch` beside a federation in containers."""

import pytest

from tests.compose.stack import Stack

pytestmark = [pytest.mark.compose, pytest.mark.timeout(900)]


def test_make_watch_shows_the_rounds_of_a_run_in_containers_and_ends_with_it(stack: Stack) -> None:
    none = stack.make("watch", folder=stack.folder)
    assert none.returncode == 2
    assert "make up" in none.stderr
    assert "Error 5" in none.stderr
    with stack.begin("up", ROUNDS="2", LOCAL_EPOCHS="1"):
        stack.wait_for("listening", "server")
        watched = stack.make("watch", folder=stack.folder)
    assert watched.returncode == 0, watched.stderr
    lines = [line.partition(":")[0] for line in watched.stdout.splitlines()]
    assert {"round 1 of 2", "round 2 of 2"} <= set(lines)
    assert lines[-1].startswith("finished, ")
