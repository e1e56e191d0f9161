"""`run_trial`, which tests of tasks use: it trains as a client does, on any kind of data."""

from pathlib import Path

import numpy as np
import pytest

from client.mx import mx
from client.png import encode
from client.trial import make_schema, run_trial
from fedmx.errors import SettingsError
from tests.client.given.saved_runs import Workplace

RECORDS = """
from client.data import load_image_records
from client.mx import gluon

def build_model():
    return gluon.nn.Dense(2)

def load_data(data_dir, options):
    as_input = gluon.data.vision.transforms.ToTensor()
    return tuple(part.transform_first(as_input) for part in load_image_records(data_dir, classes=2))
"""
ROWS = """
import numpy as np
from client.mx import gluon

def build_model(schema, options):
    net = gluon.nn.HybridSequential()
    net.add(gluon.nn.Dense(options["width"]), gluon.nn.Dense(len(schema["kind"].values)))
    return net

FROZEN = "0.*"

def columns(data_dir):
    return {"kind": np.array(["a", "b"] * 20)}

def load_data(data_dir, schema):
    rows = np.arange(40, dtype=np.float32)[:, None] % 2
    return (rows, rows[:, 0]), (rows, rows[:, 0])
"""


def write_records(folder: Path) -> None:
    records = mx.recordio.MXRecordIO(str(folder / "images.rec"), "w")
    for number in range(40):
        picture = np.full((4, 4, 3), 200 * (number % 2), np.uint8)
        header = mx.recordio.IRHeader(0, number % 2, number, 0)
        records.write(mx.recordio.pack(header, encode(picture)))
    records.close()


def test_a_task_of_record_files_learns_and_repeats(workplace: Workplace) -> None:
    write_records(workplace.folder)
    name = workplace.write_task("records_task", RECORDS)
    first, second = (run_trial(name, workplace.folder, 4, batch_size=8, learning_rate=0.1) for _ in range(2))
    assert len(first.training) == 4
    assert first.training[-1]["loss"] < first.training[0]["loss"]
    assert first.evaluation["accuracy"] == 1
    assert first.schema is None
    with pytest.raises(SettingsError, match="columns is missing"):
        make_schema(name, workplace.folder)
    assert all((first.arrays[key] == second.arrays[key]).all() for key in ("weight", "bias"))


def test_a_task_gets_its_options_and_the_schema_of_its_data_and_frozen_arrays_stay(
    workplace: Workplace,
) -> None:
    name = workplace.write_task("rows_task", ROWS)
    before, trial = (run_trial(name, workplace.folder, rounds, {"width": 3}) for rounds in (1, 2))
    assert trial.schema is not None
    assert trial.schema["kind"].values == ("a", "b")
    assert make_schema(name, workplace.folder) == trial.schema
    assert {key: array.shape for key, array in trial.arrays.items()} == {
        "0.weight": (3, 1),
        "0.bias": (3,),
        "1.weight": (2, 3),
        "1.bias": (2,),
    }
    moved = {key for key, array in trial.arrays.items() if (array != before.arrays[key]).any()}
    assert moved == {"1.weight", "1.bias"}


def test_a_task_that_cannot_be_trained_is_an_error(workplace: Workplace) -> None:
    name = workplace.write_task("broken_task", ROWS.replace('options["width"]', '"wide"'))
    with pytest.raises(SettingsError, match="broken_task"):
        run_trial(name, workplace.folder, 1, {"width": 3})
