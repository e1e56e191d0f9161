"""Streams that break, stall or are slow: the run produces the undisturbed model and trains nothing twice."""

from collections.abc import Iterator

import pytest

from tests.federation.chaos.cable import Cable
from tests.federation.chaos.reference import Plan, Reference
from tests.federation.chaos.stage import Stage
from tests.federation.programs import Program

PLAN = Plan(rounds=2, task="wide_task")
MODEL = 5_200_000  # bytes, of the wide task


@pytest.fixture
def cables(stage: Stage) -> Iterator[tuple[Cable, Cable]]:
    """A way to the server for each of two nodes."""
    made = Cable(stage.port), Cable(stage.port)
    yield made
    for cable in made:
        cable.close()


def start(stage: Stage, cables: tuple[Cable, Cable]) -> list[Program]:
    nodes = [
        stage.start_client(NODE_NAME=name, TASK=PLAN.task, SERVER_ADDRESS=cable.address)
        for name, cable in zip(PLAN.names, cables, strict=True)
    ]
    return [stage.start_server(**PLAN.settings), *nodes]


def end(stage: Stage, programs: list[Program], reference: Reference) -> list[int]:
    """Wait for the end, which has to be as if nothing had been; give how often each node lost the server."""
    assert [program.wait() for program in programs] == [0, 0, 0], stage.logs
    assert stage.facts["model_sha256"] == reference.digest(PLAN)
    assert stage.trainings == PLAN.trainings
    assert stage.missing == [[], []]
    assert "Traceback" not in stage.logs
    return [program.log.count("lost the server") for program in programs[1:]]


def test_streams_that_are_cut_during_uploads_and_downloads_are_resumed(
    stage: Stage, cables: tuple[Cable, Cable], reference: Reference
) -> None:
    for way, cable in zip(("up", "down"), cables, strict=True):
        for models in (0.5, 1.5, 2.5):
            cable.after(way, int(models * MODEL), cable.cut)
    lost_up, lost_down = end(stage, start(stage, cables), reference)
    assert lost_up == 3
    assert lost_down == 3


@pytest.mark.slow
def test_a_slow_stream_changes_nothing(
    stage: Stage, cables: tuple[Cable, Cable], reference: Reference
) -> None:
    cables[0].bytes_per_s = 20_000_000
    assert end(stage, start(stage, cables), reference) == [0, 0]


def stall_both(cables: tuple[Cable, Cable], seconds: float) -> None:
    """Stall one within its first download, and meanwhile the other within its upload of that round."""
    uploading, downloading = cables

    def begin() -> None:
        downloading.stall(seconds)
        uploading.after("up", MODEL // 2, lambda: uploading.stall(seconds))

    downloading.after("down", MODEL // 2, begin)


@pytest.mark.slow
def test_streams_that_stall_for_five_seconds_during_a_transfer_do_not_break(
    stage: Stage, cables: tuple[Cable, Cable], reference: Reference
) -> None:
    stall_both(cables, 5)
    assert end(stage, start(stage, cables), reference) == [0, 0]


@pytest.mark.slow
def test_streams_that_stall_for_a_minute_are_dropped_and_reconnected(
    stage: Stage, cables: tuple[Cable, Cable], reference: Reference
) -> None:
    stall_both(cables, 60)
    assert min(end(stage, start(stage, cables), reference)) >= 1
