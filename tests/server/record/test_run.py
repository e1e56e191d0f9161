"""The record of a run on disk."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord

from fedmx import arrays
from fedmx.errors import DataError
from fedmx.settings import ServerSettings
from server.record import checkpoint
from server.record.run import RunRecord
from server.report import Outcome
from tests.server.federation import Federation
from tests.server.nodes import NullNode, pack, shift
from tests.server.reports import make_report

MODEL = pack({"w": np.arange(3, dtype=np.float32)})

ADVICE = "; expected a writable folder with room for it"


def make_record(folder: Path, run_id: str = "one", **settings: Any) -> RunRecord:
    return RunRecord.begin(run_id, ServerSettings(seed=5, runs_dir=folder, **settings))


def facts(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return found


def test_a_run_is_running_until_it_ends(tmp_path: Path) -> None:
    record = make_record(tmp_path)
    assert (facts(record.folder)["status"], facts(record.folder)["finished"]) == ("running", None)
    record.end(Outcome("interrupted"))
    assert facts(record.folder)["status"] == "interrupted"
    assert facts(record.folder)["finished"] is not None


def test_latest_is_the_newest_run_and_relative(tmp_path: Path) -> None:
    for run_id in ("one", "two"):
        make_record(tmp_path, run_id)
        assert (tmp_path / "latest").readlink() == Path(run_id)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest", "one", "two"]


def test_each_round_is_a_line_that_is_there_at_once(tmp_path: Path) -> None:
    record = make_record(tmp_path)
    for number in (1, 2):
        record.keep(make_report(number), MODEL, {})
        lines = (record.folder / "history.jsonl").read_text().splitlines()
        assert [json.loads(line)["round"] for line in lines] == list(range(1, number + 1))
        assert facts(record.folder)["rounds"] == number


@pytest.mark.parametrize(
    ("rounds", "best"),
    [
        ([(0.5, True), (0.25, True), (0.75, True)], (2, 0.25)),
        ([(0.5, True), (0.25, False)], (1, 0.5)),
        ([(0.5, True), (0.5, True)], (1, 0.5)),
        ([(None, True), (0.5, True)], (2, 0.5)),
        ([(0.5, False)], None),
    ],
)
def test_the_best_round_has_the_lowest_loss_of_complete_evaluations(
    tmp_path: Path, rounds: list[tuple[float | None, bool]], best: tuple[int, float] | None
) -> None:
    record = make_record(tmp_path)
    for number, (loss, is_complete) in enumerate(rounds, start=1):
        record.keep(make_report(number, loss, is_complete=is_complete), MODEL, {})
    expected = {"round": best[0], "metric": "loss", "value": best[1]} if best else None
    assert facts(record.folder)["best"] == expected


def test_a_round_is_kept_as_a_checkpoint_and_as_a_line(tmp_path: Path) -> None:
    record = make_record(tmp_path)
    report = make_report(1, privacy={"epsilon": 2.0, "delta": 1e-5})
    kept = record.keep(report, MODEL, {"m_t/w": np.ones(3)})
    line = json.loads((record.folder / "history.jsonl").read_text())
    assert line == kept.to_line()
    assert kept.seconds.checkpoint == kept.seconds.total > 0
    read = checkpoint.load(checkpoint.path_of(record.folder / checkpoint.FOLDER, 1))
    assert (read.facts.run_id, read.facts.round, read.facts.history_bytes) == ("one", 1, 0)
    assert (read.facts.nodes, read.facts.partitions) == ({"a": 0, "b": 1}, 2)
    assert (read.facts.best, read.facts.stale) == ({"round": 1, "metric": "loss", "value": 0.5}, 0)
    assert {**read.facts.line, "seconds": line["seconds"]} == line
    assert arrays.sha256(read.arrays) == arrays.sha256(MODEL)
    assert read.state["m_t/w"].tolist() == [1, 1, 1]


def test_the_newest_checkpoints_and_the_best_one_stay(tmp_path: Path) -> None:
    record = make_record(tmp_path, keep_checkpoints=2)
    for number, loss in enumerate((0.5, 0.25, 0.75, 0.75, 0.75), start=1):
        record.keep(make_report(number, loss), MODEL, {})
    assert checkpoint.list_rounds(record.folder / checkpoint.FOLDER) == [5, 4, 2]


@pytest.mark.parametrize(
    ("losses", "is_evaluated"), [((None, None), False), ((0.5, None), True), ((), False)]
)
def test_the_outcome_has_whether_any_round_was_evaluated(
    tmp_path: Path, losses: tuple[float | None, ...], *, is_evaluated: bool
) -> None:
    record = make_record(tmp_path)
    for number, loss in enumerate(losses, start=1):
        record.keep(make_report(number, loss), MODEL, {})
    assert record.finish(MODEL).is_evaluated is is_evaluated


def test_a_finished_run_has_its_model_and_the_models_digest(tmp_path: Path) -> None:
    record = make_record(tmp_path)
    outcome = record.finish(MODEL)
    assert facts(record.folder)["status"] == "finished"
    assert facts(record.folder)["model_sha256"] == outcome.model_sha256 == arrays.sha256(MODEL)
    with np.load(record.folder / "model.npz", allow_pickle=False) as file:
        assert file["w"].tolist() == [0, 1, 2]


def test_a_run_counts_as_finished_only_when_its_model_is_there_for_mxnet_too(tmp_path: Path) -> None:
    record = make_record(tmp_path)
    (record.folder / "model.params").mkdir()
    with pytest.raises(DataError, match=f"^{record.folder}/model.params: "):
        record.finish(MODEL)
    assert (facts(record.folder)["status"], facts(record.folder)["model_sha256"]) == ("running", None)


def make_model(number: int) -> ArrayRecord:
    return pack({"w": np.full(3, number, np.float32)})


@pytest.mark.parametrize(("losses", "best"), [((0.5, 0.25, 0.75), 2), ((0.5, 0.25), 2), ((None, None), None)])
def test_the_model_of_the_best_round_is_written_next_to_the_final_one(
    tmp_path: Path, losses: tuple[float | None, ...], best: int | None
) -> None:
    record = make_record(tmp_path, keep_checkpoints=1)
    for number, loss in enumerate(losses, start=1):
        record.keep(make_report(number, loss), make_model(number), {})
    outcome = record.finish(make_model(len(losses)))
    files = {path.name for path in record.folder.iterdir()}
    assert {"model.npz", "model.params"} <= files
    assert ({"best.npz", "best.params"} <= files) is (best is not None)
    if best is None:
        assert (facts(record.folder)["best_sha256"], outcome.best) == (None, None)
        return
    with np.load(record.folder / "best.npz", allow_pickle=False) as file:
        assert file["w"].tolist() == [best] * 3
    assert facts(record.folder)["best_sha256"] == arrays.sha256(make_model(best))
    assert (record.folder / "best.params").read_bytes() != b""
    assert outcome.best is not None
    assert outcome.best["round"] == best


def test_a_run_whose_best_checkpoint_is_damaged_finishes_without_a_best_model(
    tmp_path: Path,
) -> None:
    for run_id, damage in (("one", Path.unlink), ("two", lambda path: path.write_bytes(b"PK"))):
        record = make_record(tmp_path, run_id)
        for number, loss in ((1, 0.25), (2, 0.5)):
            record.keep(make_report(number, loss), make_model(number), {})
        damage(checkpoint.path_of(record.folder / checkpoint.FOLDER, 1))
        assert record.finish(make_model(2)).status == "finished"
        assert (facts(record.folder)["status"], facts(record.folder)["best_sha256"]) == ("finished", None)
        assert not (record.folder / "best.npz").exists()


def test_the_digest_in_run_json_is_that_of_the_saved_model(federation: Federation) -> None:
    federation.run({"a": NullNode(shift(0.1)), "b": NullNode(shift(0.3))}, num_rounds=2)
    assert federation.facts["model_sha256"] == arrays.sha256(pack(federation.model))


def test_a_failed_run_records_the_reason(tmp_path: Path) -> None:
    record = make_record(tmp_path)
    record.end(Outcome("failed", reason="round 1 failed", exit_code=4))
    found = facts(record.folder)
    assert (found["status"], found["reason"], found["exit_code"]) == ("failed", "round 1 failed", 4)


def test_a_run_that_is_there_already_is_not_written_over(tmp_path: Path) -> None:
    make_record(tmp_path)
    with pytest.raises(DataError) as caught:
        make_record(tmp_path)
    assert str(caught.value) == f"{tmp_path}/one: cannot be written: File exists{ADVICE}"


def test_a_history_that_cannot_be_written_fails_the_run_in_one_line(tmp_path: Path) -> None:
    record = make_record(tmp_path)
    (record.folder / "history.jsonl").mkdir()
    with pytest.raises(DataError) as caught:
        record.keep(make_report(1), MODEL, {})
    assert str(caught.value) == f"{record.folder}/history.jsonl: cannot be written: Is a directory{ADVICE}"


def test_latest_that_is_a_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "latest" / "full").mkdir(parents=True)
    with pytest.raises(DataError, match=f"^{tmp_path}/latest: cannot be written: "):
        make_record(tmp_path)
