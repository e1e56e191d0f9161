"""A task whose build_model() reads a weights file in DATA_DIR, in a client and in every command."""

import json
from pathlib import Path

import numpy as np
import pytest

from client.__main__ import main
from client.mx import gluon, mx
from client.settings import load_settings
from client.task import load_task
from client.trainer import Trainer
from fedmx import arrays
from fedmx.errors import DataError
from fedmx.settings import ClientSettings
from tests.client.given.saved_runs import Workplace

SOURCE = """
import numpy as np
from client.mx import gluon

def build_model(data_dir, options):
    net = gluon.nn.Dense(options["units"], in_units=4)
    net.load_parameters(str(data_dir / "pretrained.params"))
    return net

def loss(options):
    return gluon.loss.L2Loss(weight=options["weight"])

def load_data(data_dir):
    rows = np.load(data_dir / "rows.npy")
    return (rows, rows[:, :2]), (rows, rows[:, :2])
"""
OPTIONS = {"units": 2, "weight": 3.0}
FILL = 0.25


@pytest.fixture
def site(workplace: Workplace) -> Path:
    """A folder with data and a weights file, beside a run of the task; DATA_DIR is another folder."""
    folder = workplace.folder / "site"
    folder.mkdir()
    np.save(folder / "rows.npy", np.random.default_rng(0).random((20, 4)).astype(np.float32))
    net = gluon.nn.Dense(2, in_units=4)
    net.initialize(mx.init.Constant(FILL))
    net.save_parameters(str(folder / "pretrained.params"))
    workplace.save_run(workplace.write_task("weights_task", SOURCE), net, options=OPTIONS)
    return folder


@pytest.fixture
def data_dir(site: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same folder, which is DATA_DIR."""
    monkeypatch.setenv("DATA_DIR", str(site))
    load_settings.cache_clear()
    return site


def test_a_client_starts_from_weights_in_its_data_dir(site: Path) -> None:
    settings = ClientSettings(task="weights_task", data_dir=site, device="cpu")
    initial = Trainer.from_settings(settings, OPTIONS).initial_arrays(5)
    assert (arrays.view(initial["weight"]) == np.float32(FILL)).all()


def test_a_loss_gets_the_options_that_it_asks_for(site: Path) -> None:
    task = load_task("weights_task", OPTIONS, site)
    # Half of 3 x 2 x 2.
    assert task.loss(mx.nd.zeros((1, 1)), mx.nd.array([[2.0]])).asscalar() == 6


def test_commands_with_a_folder_of_data_as_argument_build_the_network_from_it(
    site: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TASK_OPTIONS", json.dumps(OPTIONS))
    main(["check-task", "weights_task", str(site), "--json"])
    assert json.loads(capsys.readouterr().out)["parameters"] == 4 * 2 + 2
    main(["evaluate", "latest", str(site), "--json"])
    assert json.loads(capsys.readouterr().out)["num_examples"] == 20


def test_other_commands_build_the_network_from_the_folder_of_the_setting(
    data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["export", "latest", "--format", "mxnet", "--output", "mine"])
    assert set(mx.nd.load("mine-0000.params").popitem()[1].asnumpy().ravel()) <= {FILL, 0}
    capsys.readouterr()
    np.savez("one.npz", np.ones((1, 4), np.float32))
    main(["predict", "latest", "one.npz", "--json"])
    assert json.loads(capsys.readouterr().out)["values"] == [1, 1]


def test_a_data_dir_that_does_not_exist_is_named_where_the_network_needs_it(workplace: Workplace) -> None:
    workplace.write_task("weights_task", SOURCE)
    for folder in (None, Path("nowhere")):
        with pytest.raises(DataError, match=rf"^DATA_DIR={folder or ''}: .*build_model\(data_dir\)"):
            load_task("weights_task", OPTIONS, folder).build_model()
