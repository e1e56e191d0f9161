"""What is on disk of a run."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedmx import arrays
from fedmx.errors import DataError
from fedmx.settings import ServerSettings
from server.record.history import History
from tests.server.nodes import Federation, NullNode, pack, shift

LINE = {"round": 1, "evaluate": {"loss": 0.5}}
MODEL = pack({"w": np.arange(3, dtype=np.float32)})

ADVICE = "; expected a writable folder with room for it"


SETTINGS = ServerSettings(seed=5)


def make_history(folder: Path, run_id: str = "one") -> History:
    return History.begin(folder, run_id, SETTINGS)


def facts(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return found


def test_a_run_is_running_until_it_ends(tmp_path: Path) -> None:
    record = make_history(tmp_path)
    assert (facts(record.folder)["status"], facts(record.folder)["finished"]) == ("running", None)
    record.end("interrupted")
    assert facts(record.folder)["status"] == "interrupted"
    assert facts(record.folder)["finished"] is not None


def test_latest_is_the_newest_run_and_relative(tmp_path: Path) -> None:
    for run_id in ("one", "two"):
        make_history(tmp_path, run_id)
        assert (tmp_path / "latest").readlink() == Path(run_id)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest", "one", "two"]


def test_each_round_is_a_line_that_is_there_at_once(tmp_path: Path) -> None:
    record = make_history(tmp_path)
    for number in (1, 2):
        record.add_round(LINE | {"round": number}, None)
        lines = (record.folder / "history.jsonl").read_text().splitlines()
        assert [json.loads(line)["round"] for line in lines] == list(range(1, number + 1))
        assert facts(record.folder)["rounds"] == number


@pytest.mark.parametrize(
    ("rounds", "best"),
    [
        ([(0.5, True), (0.25, True), (0.75, True)], {"round": 2, "loss": 0.25}),
        ([(0.5, True), (0.25, False)], {"round": 1, "loss": 0.5}),
        ([(0.5, True), (0.5, True)], {"round": 1, "loss": 0.5}),
        ([(None, True), (0.5, True)], {"round": 2, "loss": 0.5}),
        ([(0.5, False)], None),
    ],
)
def test_the_best_round_has_the_lowest_loss_of_whole_evaluations(
    tmp_path: Path, rounds: list[tuple[float | None, bool]], best: dict[str, Any] | None
) -> None:
    record = make_history(tmp_path)
    for number, (loss, is_whole) in enumerate(rounds, start=1):
        evaluated = None if loss is None else {"loss": loss}
        line = {"round": number, "evaluate": evaluated}
        record.add_round(line, record.judge(line) if is_whole else record.best)
    assert facts(record.folder)["best"] == best


def test_a_finished_run_has_its_model_and_the_models_digest(tmp_path: Path) -> None:
    record = make_history(tmp_path)
    digest = record.finish(MODEL)
    assert facts(record.folder)["status"] == "finished"
    assert facts(record.folder)["model_sha256"] == digest == arrays.sha256(MODEL)
    with np.load(record.folder / "model.npz", allow_pickle=False) as file:
        assert file["w"].tolist() == [0, 1, 2]


def test_a_run_counts_as_finished_only_when_its_model_is_there_for_mxnet_too(tmp_path: Path) -> None:
    record = make_history(tmp_path)
    (record.folder / "model.params").mkdir()
    with pytest.raises(DataError, match=f"^{record.folder}/model.params: "):
        record.finish(MODEL)
    assert (facts(record.folder)["status"], facts(record.folder)["model_sha256"]) == ("running", None)


def test_the_digest_in_run_json_is_that_of_the_saved_model(federation: Federation) -> None:
    federation.run({"a": NullNode(shift(0.1)), "b": NullNode(shift(0.3))}, num_rounds=2)
    assert federation.facts["model_sha256"] == arrays.sha256(pack(federation.model))


def test_a_run_that_failed_says_why(tmp_path: Path) -> None:
    record = make_history(tmp_path)
    record.end("failed", reason="round 1 failed", exit_code=4)
    said = facts(record.folder)
    assert (said["status"], said["reason"], said["exit_code"]) == ("failed", "round 1 failed", 4)


def test_a_run_that_is_there_already_is_not_written_over(tmp_path: Path) -> None:
    make_history(tmp_path)
    with pytest.raises(DataError) as caught:
        make_history(tmp_path)
    assert str(caught.value) == f"{tmp_path}/one: cannot be written: File exists{ADVICE}"


def test_a_history_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    record = make_history(tmp_path)
    (record.folder / "history.jsonl").mkdir()
    with pytest.raises(DataError) as caught:
        record.add_round(LINE, None)
    assert str(caught.value) == f"{record.folder}/history.jsonl: cannot be written: Is a directory{ADVICE}"


def test_latest_that_is_a_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "latest" / "full").mkdir(parents=True)
    with pytest.raises(DataError, match=f"^{tmp_path}/latest: cannot be written: "):
        make_history(tmp_path)
