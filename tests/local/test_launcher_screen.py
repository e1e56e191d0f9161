"""What the launcher shows on a terminal, and the page of the run that it announces."""

import re
import signal

import pytest

from tests.bounds import HANG_S
from tests.local.launching import Launcher


def has_row(text: str, number: str) -> bool:
    """Whether a table on the screen has a row for a round."""
    return any(line.split()[:1] == [number] and "0.2500" in line for line in text.splitlines())


GO_ON = "while not pathlib.Path('go').exists(): time.sleep(0.1)"


@pytest.mark.parametrize("size", [(80, 24), (40, 12)])
def test_a_terminal_shows_a_screen_while_programs_run_and_the_tables_alone_at_the_end(
    launcher: Launcher, size: tuple[int, int]
) -> None:
    does = f"say('INFO', 'leased'); say('WARNING', 'odd'); train(2)\n{GO_ON}"
    terminal = launcher.start_on_terminal({"ROUNDS": "2", "SERVER_DOES": does}, size)
    assert terminal.read_until(lambda text: has_row(text, "2") and " odd" in text)
    assert "round 2 of 2" in terminal.screen.text
    assert "server | 12:00:00.000 WARNING odd" in terminal.screen.text
    (launcher.root / "go").touch()
    text = terminal.read_all()
    assert terminal.process.wait(timeout=HANG_S) == 0
    assert "leased" not in text
    assert "round 2 of 2" not in text
    assert "model: runs/run-1/model.npz" in text


def test_a_terminal_that_cannot_be_drawn_on_shows_lines(launcher: Launcher) -> None:
    does = "say('INFO', 'leased'); train(1)"
    terminal = launcher.start_on_terminal({"SERVER_DOES": does, "TERM": "dumb"}, (80, 24))
    text = terminal.read_all()
    assert terminal.process.wait(timeout=HANG_S) == 0
    assert "server | 12:00:00.000 INFO    leased" in text
    assert "\x1b" not in terminal.codes


def test_a_terminal_without_colours_shows_none(launcher: Launcher) -> None:
    does = f"train(2)\n{GO_ON}"
    terminal = launcher.start_on_terminal({"ROUNDS": "2", "SERVER_DOES": does, "NO_COLOR": "1"}, (80, 24))
    assert terminal.read_until(lambda text: "round 2 of 2" in text)
    assert not re.search(r"\x1b\[[0-9;]*3[0-9][;m]", terminal.codes)


def test_ctrl_c_on_a_terminal_leaves_the_rounds_so_far(launcher: Launcher) -> None:
    terminal = launcher.start_on_terminal({"ROUNDS": "9", "SERVER_DOES": "train(2); wait()"}, (80, 24))
    assert terminal.read_until(lambda text: "round 2 of 9" in text)
    terminal.process.send_signal(signal.SIGINT)
    text = terminal.read_all()
    assert terminal.process.wait(timeout=HANG_S) == 130
    assert "stopped: ending all programs" in text
    assert "round 2 of 9" not in text
    # The cursor that the screen has hidden.
    assert terminal.codes.rindex("\x1b[?25h") > terminal.codes.rindex("\x1b[?25l")


def test_without_a_terminal_the_page_is_announced_in_one_line(launcher: Launcher) -> None:
    url = "http://127.0.0.1:8081/"
    _, lines = launcher.run(SERVER_DOES="train(1)", URL=url)
    assert lines.count(f"status page: {url}") == 1
    _, lines = launcher.run(SERVER_DOES="train(1)", URL=url, SERVER_FIRST=f"say('INFO', 'page url={url}')")
    assert len([line for line in lines if url in line]) == 1


IN_USE = """
if os.environ["STATUS_ADDRESS"] != "127.0.0.1:0":
    say("ERROR", f"STATUS_ADDRESS={os.environ['STATUS_ADDRESS']}: in use")
    sys.exit(2)
"""


def test_a_page_whose_port_was_taken_in_the_meantime_has_another_one(launcher: Launcher) -> None:
    code, lines = launcher.run(SERVER_FIRST=IN_USE, SERVER_DOES="train(1)")
    assert code == 0
    assert not [line for line in lines if "in use" in line]
    code, lines = launcher.run(SERVER_FIRST=IN_USE, STATUS_ADDRESS="127.0.0.1:7")
    assert (code, lines) == (2, ["STATUS_ADDRESS=127.0.0.1:7: in use"])
