"""What a client logs of each round: at most two lines, whatever part it takes in it."""

import io
import json
import math
from collections.abc import Iterator
from typing import Any

import pytest

from client.journal import Journal
from fedmx.link.handler import Exchange
from fedmx.log import configure, logger
from fedmx.round_news import Result, RoundNews

RUN = "20260101-000000-ab12"
TRAINED = {"loss": 0.5, "num-examples": 30}
EVALUATED = {"loss": 0.25, "auc": math.nan, "num-examples": 10}


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    before = (list(logger.handlers), logger.level, logger.propagate)
    configure("INFO", "json", stream)
    yield stream
    logger.handlers[:], logger.level, logger.propagate = before


def lines(log: io.StringIO) -> list[dict[str, Any]]:
    """Return the lines since the previous call."""
    found = [json.loads(line) for line in log.getvalue().splitlines()]
    log.truncate(0)
    log.seek(0)
    return found


def events(log: io.StringIO) -> list[tuple[str, int]]:
    return [(line["event"], line["round"]) for line in lines(log)]


def config(number: int, run: str = RUN) -> dict[str, Any]:
    result = Result(number - 1, 2, {"loss": 1.0 / number}).to_text() if number > 1 else ""
    return dict(RoundNews(run, 9, result).to_config())


@pytest.fixture
def journal() -> Journal:
    made = Journal()
    made.is_transfer_measured = True
    return made


def train(journal: Journal, number: int, run: str = RUN) -> None:
    journal.begin(number, config(number, run))
    journal.add_training(TRAINED, 2.0)
    journal.add_exchange(Exchange(number, bytes_down=100, bytes_up=1000))


def evaluate(journal: Journal, number: int, run: str = RUN) -> None:
    journal.begin(number, config(number, run))
    journal.add_evaluation(EVALUATED, 1.0)
    journal.add_exchange(Exchange(number, bytes_down=10, bytes_up=1))


def test_a_round_is_one_line_once_its_evaluation_is_sent_and_one_with_the_next_message(
    journal: Journal, log: io.StringIO
) -> None:
    train(journal, 1)
    assert lines(log) == []
    evaluate(journal, 1)
    (own,) = lines(log)
    del own["time"], own["level"]
    assert own == {
        "event": "own result",
        "round": 1,
        "rounds": 9,
        "metrics": {"train_loss": 0.5, "loss": 0.25},
        "examples": 30,
        "tested": 10,
        "seconds": 3.0,
        "bytes_up": 1001,
        "bytes_down": 110,
        "run": RUN,
    }
    train(journal, 2)
    (federation,) = lines(log)
    assert (federation["event"], federation["round"], federation["nodes"]) == ("federation result", 1, 2)
    assert (federation["metrics"], federation["run"]) == ({"loss": 0.5}, RUN)
    evaluate(journal, 2)
    assert events(log) == [("own result", 2)]
    journal.end(Result(2, 2, {}).to_text())
    assert events(log) == [("federation result", 2)]


def test_a_round_without_an_evaluation_is_logged_when_the_next_one_begins_or_at_the_end(
    journal: Journal, log: io.StringIO
) -> None:
    train(journal, 1)
    train(journal, 5)
    own, federation = lines(log)
    assert (own["round"], own["metrics"], "tested" in own) == (1, {"train_loss": 0.5}, False)
    assert (federation["event"], federation["round"]) == ("federation result", 4)
    journal.end("")
    assert events(log) == [("own result", 5)]


def test_a_node_that_is_only_evaluated_logs_its_evaluation(journal: Journal, log: io.StringIO) -> None:
    evaluate(journal, 1)
    (own,) = lines(log)
    assert (own["metrics"], "examples" in own, own["bytes_up"]) == ({"loss": 0.25}, False, 1)


def test_a_node_that_takes_no_part_logs_nothing(journal: Journal, log: io.StringIO) -> None:
    journal.begin(1, config(1))
    journal.end("no result")
    assert lines(log) == []


def test_rounds_of_two_runs_are_not_mixed(journal: Journal, log: io.StringIO) -> None:
    train(journal, 2)
    train(journal, 2, "other")
    found = [(line["event"], line["round"], line["run"]) for line in lines(log)]
    assert found == [
        ("federation result", 1, RUN),
        ("own result", 2, RUN),
        ("federation result", 1, "other"),
    ]


def test_where_bytes_are_not_measured_a_round_is_logged_without_them(log: io.StringIO) -> None:
    journal = Journal()
    journal.begin(1, {})
    journal.add_training(TRAINED, 1.0)
    journal.add_evaluation(EVALUATED, 1.0)
    (own,) = lines(log)
    assert own["round"] == 1
    assert not own.keys() & {"rounds", "run", "bytes_up", "bytes_down"}


def test_texts_of_the_server_are_escaped(journal: Journal) -> None:
    stream = io.StringIO()
    before = (list(logger.handlers), logger.level, logger.propagate)
    configure("INFO", "text", stream)
    text = json.dumps({"round": 1, "nodes": 1, "metrics": {"a\n\x1b[31mERROR": 1}})
    try:
        journal.begin(2, {"run-id": "x\ny", "num-rounds": 3, "federation-result": text})
        journal.add_training(TRAINED, 1.0)
        journal.end("")
    finally:
        logger.handlers[:], logger.level, logger.propagate = before
    assert len(stream.getvalue().splitlines()) == 2
    assert "\x1b" not in stream.getvalue()
