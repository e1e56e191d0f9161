"""The commands for a finished run's model use what its sites agreed on, not what the data here looks like."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from client.__main__ import main
from client.loading import build_network
from client.mx import mx
from client.saved_run import find_run
from client.task import load_task
from fedmx.errors import DataError, SettingsError
from fedmx.schema import Categorical, Numeric, Schema
from tests.client.given.saved_runs import Workplace, initialize

TASK = """
import numpy as np
from client.mx import gluon

def columns(data_dir):
    raise AssertionError("the sites have agreed already")

def build_model(schema):
    return gluon.nn.Dense(len(schema["blood"].values))

def load_examples(path, schema):
    rows = np.loadtxt(path, ndmin=2, dtype=np.float32)
    return (rows - schema["age"].mean) / schema["age"].std

def load_data(data_dir, schema):
    rows = load_examples(data_dir / "rows.txt", schema)
    return (rows, np.arange(len(rows)) % 3), (rows, np.arange(len(rows)) % 3)

def CLASSES(schema):
    return schema["blood"].values
"""
SCHEMA = Schema({"age": Numeric(50.0, 10.0), "blood": Categorical(("0", "A", "B"))})
ROWS = np.array([[30.0], [50.0], [80.0]], np.float32)


@pytest.fixture
def run(workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a run of the task above, beside `rows.txt`."""
    np.savetxt("rows.txt", ROWS)
    monkeypatch.setenv("DATA_DIR", ".")
    name = workplace.write_task("ages", TASK)
    net = initialize(load_task(name, schema=SCHEMA).build_model(), (2, 1))
    return workplace.save_run(name, net, schema=SCHEMA)


def compute() -> NDArray[np.float32]:
    """Return the probabilities of the classes for the rows, scaled by hand."""
    net = build_network(load_task("ages", schema=SCHEMA), find_run("latest"))
    powers = np.exp(net(mx.nd.array([[-2.0], [0.0], [3.0]])).asnumpy())
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def test_predict_scales_every_row_of_a_file_and_names_the_classes(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["predict", "latest", "rows.txt", "--json"])
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["index"] for each in found] == [0, 1, 2]
    for each, expected in zip(found, compute(), strict=True):
        assert each["class"] == ("0", "A", "B")[int(expected.argmax())]
        assert list(each["probabilities"].values()) == pytest.approx(expected.tolist(), abs=1e-5)


def test_evaluate_reads_the_data_by_the_schema(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["evaluate", "latest", "--json"])
    facts = json.loads(capsys.readouterr().out)
    expected = -np.log(compute()[np.arange(3), np.arange(3)]).mean()
    assert facts["metrics"]["loss"] == pytest.approx(expected, abs=1e-5)
    assert facts["classes"] == ["0", "A", "B"]


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ([], ["a-run.npz", "a-run-schema.json"]),
        (["--output", "model.npz"], ["model.npz", "model-schema.json"]),
        (["--format", "mxnet", "--output", "m"], ["m-symbol.json", "m-0000.params", "m-schema.json"]),
    ],
    ids=["default", "output", "several"],
)
def test_export_writes_the_schema_beside_the_model(run: Path, arguments: list[str], names: list[str]) -> None:
    main(["export", "latest", "--format", "npz", *arguments])
    for name in names:
        assert Path(name).stat().st_size > 0
    assert Schema.from_json(Path(names[-1]).read_text()) == SCHEMA


def test_names_of_classes_from_another_site_do_not_control_the_terminal(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = json.loads((run / "run.json").read_text())
    record["schema"]["blood"]["values"] = ["0\x1b[2J", "A\r", "B\n"]
    (run / "run.json").write_text(json.dumps(record))
    main(["predict", "latest", "rows.txt"])
    main(["evaluate", "latest"])
    printed = capsys.readouterr().out
    assert r"\x1b[2J" in printed
    assert "\x1b" not in printed
    assert "\r" not in printed


def test_a_damaged_schema_is_one_line(run: Path) -> None:
    facts = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**facts, "schema": {"age": {"mean": 1}}}))
    with pytest.raises(DataError) as caught:
        main(["predict", "latest", "rows.txt"])
    assert "run.json: its schema cannot be read: column 'age'" in str(caught.value)


def test_a_schema_without_columns_to_agree_on_is_refused(workplace: Workplace) -> None:
    workplace.write_task("no_columns", TASK.replace("def columns", "def other"))
    with pytest.raises(SettingsError) as caught:
        load_task("no_columns").build_model()
    assert str(caught.value).startswith("TASK=no_columns: ")
    assert "has no columns(data_dir)" in str(caught.value) or "has the parameter schema" in str(caught.value)
