import json
from pathlib import Path
from typing import Any

from bench.flower_app.null_app.stopwatch import Stopwatch, find_gate, may_begin
from bench.outcome import Job, Outcome, count_rounds, reduce_marks


def mark(ended: float, **more: Any) -> dict[str, Any]:
    own = {"kind": "mark", "ended": ended, "cpu_ended": ended / 2, "peaks": {}, "times": {}}
    return own | {"received": 0, "sent": 0, "loopback": 0} | more


def resume(resumed: float) -> dict[str, Any]:
    return {"kind": "resume", "resumed": resumed, "cpu_resumed": resumed / 2}


def write(path: Path, *lines: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_a_pause_between_two_rounds_does_not_count(tmp_path: Path) -> None:
    start = {"kind": "start", "base_rss": 100}
    lines = [mark(0.0), resume(5.0), mark(7.0), resume(20.0), mark(21.0, peaks={"train": 300})]
    path = write(tmp_path / "marks", start, *lines)
    outcome = reduce_marks(Job("link", "small", 1, 1.0), path)
    assert (outcome.warm_up_s, outcome.seconds, outcome.cpu_s) == (2.0, [1.0], 0.5)
    assert (outcome.peak_over_base, count_rounds(path)) == (200, 2)


def test_a_slow_block_moves_the_median_only_as_one_block() -> None:
    seconds = [1.0, 1.0, 1.0, 9.0, 9.0, 9.0, 2.0, 2.0, 2.0]
    assert Outcome("link", "small", None, seconds, block=3).median_s == 2.0
    assert Outcome("link", "small", None, [], block=3).median_s is None


def test_rounds_beyond_the_allowed_number_may_not_begin(tmp_path: Path) -> None:
    gate = find_gate(tmp_path / "marks.jsonl")
    assert may_begin(gate, 100)
    gate.write_text("2")
    assert [may_begin(gate, number) for number in (1, 2, 3)] == [True, True, False]


def test_the_stopwatch_writes_the_moments_and_peaks_of_a_round(tmp_path: Path) -> None:
    path = tmp_path / "marks.jsonl"
    with Stopwatch(path) as stopwatch:
        for _ in range(3):
            stopwatch.note_step("evaluate", "train")
            stopwatch.note_step("train", "aggregate")
            stopwatch.mark()
    outcome = reduce_marks(Job("link", "small", 1, 1.0), path)
    (times,) = outcome.times
    assert times["train"] < times["aggregate"]
    assert outcome.peaks["train"] > 0
    assert outcome.failure is None
