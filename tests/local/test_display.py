"""Figures of the table are shown with a useful precision."""

import os

import pytest

from local.display import PipedConsole
from local.results import Round
from local.tables import make_table


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.044, "0.0440"), (9.851, "9.85"), (44.04, "44.0"), (1234.5, "1234"), (0.0, "0"), (None, "-")],
)
def test_seconds_of_a_round_have_three_significant_digits(seconds: float | None, shown: str) -> None:
    table = make_table([Round(1, 2, {"loss": 0.5}, {"loss": 0.25}, seconds)])
    assert list(table.columns[-1].cells) == [shown]


def test_a_reader_that_goes_away_ends_the_output_and_nothing_else() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    file = os.fdopen(writing, "w")
    console = PipedConsole(file=file)
    for _ in range(2):
        console.print("round 1")
    # The text that could not be written is still in the file's buffer.
    with pytest.raises(BrokenPipeError):
        file.close()
