"""The command `export`: which files it writes, from which input, and what it rejects."""

import importlib.util
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from client import onnx_file
from client.__main__ import main
from client.mx import mx
from client.task import load_task
from fedmx.errors import DataError, SettingsError
from tests.client.given.saved_runs import IMAGES, Workplace, initialize


@pytest.fixture
def _run(workplace: Workplace) -> None:
    """A run of the task `images`."""
    workplace.write_task("images", IMAGES)
    workplace.save_run("images", initialize(load_task("images").build_model(), (2, 1, 6, 5)))


@pytest.mark.usefixtures("_run")
def test_the_shape_of_an_input_replaces_the_data(workplace: Workplace) -> None:
    task = (workplace.folder / "images.py").read_text()
    broken = task.replace(
        "    random =", '    raise FileNotFoundError(2, "no data", str(data_dir))\n    random ='
    )
    assert broken != task
    workplace.write_task("without_data", broken)
    workplace.save_run("without_data", initialize(load_task("images").build_model(), (2, 1, 6, 5)), "other")
    with pytest.raises(DataError, match=r"no data.*--input 1,28,28"):
        main(["export", "other", "--format", "mxnet"])
    main(["export", "other", "--format", "mxnet", "--input", "1,6,5"])
    main(["export", run_id := "a-run", "--format", "mxnet"])
    layers = [mx.sym.load(f"{name}-symbol.json").get_internals().list_outputs() for name in ("other", run_id)]
    assert len(layers[0]) == len(layers[1]) > 5


@pytest.mark.usefixtures("_run")
@pytest.mark.parametrize("shape", ["1,2,3", "floaty:1,6,5", "1,x"])
def test_a_shape_that_does_not_fit_is_one_line(workplace: Workplace, shape: str) -> None:
    with pytest.raises(SettingsError) as caught:
        main(["export", "latest", "--format", "mxnet", "--input", shape])
    assert len(str(caught.value).splitlines()) == 1
    assert list(workplace.folder.glob("*.params")) == []


@pytest.mark.usefixtures("_run")
@pytest.mark.parametrize("output", [None, "models/mine"])
def test_standard_output_gets_an_archive_of_the_files_that_would_be_written(
    workplace: Workplace, capfdbinary: pytest.CaptureFixture[bytes], output: str | None
) -> None:
    (workplace.folder / "models").mkdir()
    arguments = ["export", "latest", "--format", "mxnet", *(["--output", output] if output else [])]
    main(arguments)
    capfdbinary.readouterr()
    main([*arguments, "--tar"])
    with tarfile.open(fileobj=io.BytesIO(capfdbinary.readouterr().out)) as archive:
        names = archive.getnames()
        assert names == [f"{output or 'a-run'}-symbol.json", f"{output or 'a-run'}-0000.params"]
        for name in names:
            packed = archive.extractfile(name)
            assert packed is not None
            assert packed.read() == Path(name).read_bytes()


GATE = """
from client.mx import gluon
from images import load_data

class Model(gluon.HybridBlock):
    def __init__(self):
        super().__init__()
        self.layer = gluon.nn.Dense(3)

    def hybrid_forward(self, F, x):
        return 1 - self.layer(x)

def build_model():
    return Model()
"""


def test_an_archive_is_whole_where_mxnet_s_exporter_prints(
    workplace: Workplace, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    workplace.write_task("images", IMAGES)
    workplace.write_task("gate", GATE)
    workplace.save_run("gate", initialize(load_task("gate").build_model(), (2, 1, 6, 5)))
    main(["export", "latest", "--format", "onnx", "--tar"])
    captured = capfdbinary.readouterr()
    # Of all operators, MXNet prints the names of these.
    assert b"rminusscalar" in captured.err
    with tarfile.open(fileobj=io.BytesIO(captured.out)) as archive:
        assert archive.getnames() == ["a-run.onnx"]


@pytest.mark.usefixtures("_run")
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda data: data[:-100], "it is damaged"),
        (lambda data: data[: len(data) // 2] + b"1234" + data[len(data) // 2 + 4 :], "array .* differs"),
    ],
    ids=["truncated", "other values"],
)
def test_a_params_file_that_is_not_the_runs_model_is_rejected(
    change: Callable[[bytes], bytes], reason: str
) -> None:
    path = Path("runs/a-run/model.params")
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(DataError, match=rf"model\.params: .*{reason}"):
        main(["export", "latest", "--format", "params"])
    assert not Path("a-run.params").exists()


@pytest.mark.usefixtures("_run")
def test_the_best_model_is_exported_where_there_is_one() -> None:
    folder = Path("runs/a-run")
    with pytest.raises(DataError, match=r"best\.npz: not found"):
        main(["export", "latest", "--format", "params", "--best"])
    for suffix in (".npz", ".params"):
        (folder / f"best{suffix}").write_bytes((folder / f"model{suffix}").read_bytes())
    # The record of this run has no digest of a best model.
    with pytest.raises(DataError, match=r"best\.npz: its SHA-256 is"):
        main(["export", "latest", "--format", "npz", "--best"])
    facts = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**facts, "best_sha256": facts["model_sha256"]}))
    main(["export", "latest", "--format", "params", "--best"])
    assert Path("a-run-best.params").read_bytes() == (folder / "best.params").read_bytes()


@pytest.mark.usefixtures("_run")
def test_without_onnx_the_command_that_installs_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(SettingsError, match=r"make export"):
        onnx_file.check_installed()
    with pytest.raises(SettingsError, match=r"onnx is not installed"):
        main(["export", "latest", "--format", "onnx"])


NOT_HYBRID = """
from client.mx import gluon
from images import load_data

def build_model():
    net = gluon.nn.Sequential()
    net.add(gluon.nn.Dense(3))
    return net
"""
# Its examples form no batch.
NEITHER_HYBRID_NOR_BATCHED = """
from client.mx import gluon

def build_model():
    net = gluon.nn.Sequential()
    net.add(gluon.nn.Dense(3))
    return net

def load_data(data_dir):
    return [gluon.data.SimpleDataset([("a", object())])] * 2
"""
UNKNOWN_TO_ONNX = """
from client.mx import gluon
from images import load_data

class Model(gluon.HybridBlock):
    def __init__(self):
        super().__init__()
        self.layer = gluon.nn.Dense(3)

    def hybrid_forward(self, F, x):
        return F.gamma(self.layer(x))

def build_model():
    return Model()
"""


@pytest.mark.parametrize(
    ("source", "form", "part"),
    [
        (NOT_HYBRID, "mxnet", "HybridBlock"),
        (NOT_HYBRID, "onnx", "HybridBlock"),
        (NEITHER_HYBRID_NOR_BATCHED, "onnx", "HybridBlock"),
        (UNKNOWN_TO_ONNX, "onnx", "ONNX"),
    ],
)
def test_a_format_that_cannot_represent_the_network_is_a_one_line_error(
    workplace: Workplace, source: str, form: str, part: str
) -> None:
    workplace.write_task("images", IMAGES)
    name = workplace.write_task(f"other_{form}_{len(source)}", source)
    workplace.save_run(name, initialize(load_task(name).build_model(), (2, 1, 6, 5)))
    with pytest.raises(SettingsError, match=part) as caught:
        main(["export", "latest", "--format", form])
    assert len(str(caught.value).splitlines()) == 1
