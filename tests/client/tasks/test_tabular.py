"""The task of tables: sites with other values train one model, for classes and for numbers."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord

from client import site_summary
from client.classifier import find_classifier
from client.device import Devices
from client.example_files import ExampleFiles
from client.shares import DataShare
from client.task import Task, load_task
from client.trainer import Trainer
from fedmx import arrays
from fedmx.errors import DataError, SettingsError
from fedmx.hyperparameters import Hyperparameters
from fedmx.schema import Schema
from fedmx.settings import environment
from fedmx.summary import merge
from fedmx.values import PartitionRule
from tests.client.given.small import CPU
from tests.pages import ROOT

NAME = "client.tasks.tabular"
SHARE = DataShare(PartitionRule("iid"), 0, 1, 0)


def write_sites(folder: Path) -> list[Path]:
    """Write two sites with other ranges: a risk above 0 at x=1000 at one, and at kind=b at the other."""
    rng = np.random.default_rng(0)
    sites = [folder / "one", folder / "two"]
    for number, site in enumerate(sites):
        x = rng.normal(1000 + 20 * number, 10, 600)
        kind = rng.choice(["a", "b", "cd"[number]], 600)
        price = 3 * (x - 1000) + 40 * (kind == "b") + 5000
        site.mkdir()
        rows = "".join(
            f"{a:.3f},{k},{int(p > 5060)},{p:.2f},id{i}{number}\n"
            for i, (a, k, p) in enumerate(zip(x, kind, price, strict=True))
        )
        (site / "rows.csv").write_text(f"x,kind,costly,price,id\n{rows}")
    return sites


def agree(sites: list[Path], options: Mapping[str, Any], min_group: int = 5) -> Schema:
    summaries = {
        site.name: site_summary.summarize(NAME, site_summary.read_columns(NAME, options, site), min_group)
        for site in sites
    }
    return merge(summaries)


def train(
    sites: list[Path], options: Mapping[str, Any], rounds: int = 5
) -> tuple[Task, list[dict[str, float]]]:
    """Train by averages of all sites, and return the task and the metrics of the last model at each site."""
    schema = agree(sites, options)
    trainers = [Trainer(load_task(NAME, options, site, schema), site, Devices([CPU])) for site in sites]
    for trainer in trainers:
        trainer.load_partition(SHARE)
    how = Hyperparameters(2, 20, 0.05, task_options=options)
    model = trainers[0].initial_arrays(0)
    for number in range(rounds):
        updates = [trainer.train(model, how, number, [number])[0] for trainer in trainers]
        model = ArrayRecord(
            {
                name: arrays.pack(np.mean([update[name].numpy() for update in updates], axis=0))
                for name in updates[0]
            }
        )
    return trainers[0].task, [trainer.evaluate(model, how, rounds, [0]) for trainer in trainers]


def test_a_label_of_0_and_1_is_two_classes_and_both_sites_learn_them(tmp_path: Path) -> None:
    options = {"label": "costly", "ignore": ["id", "price"]}
    sites = write_sites(tmp_path)
    task, found = train(sites, options)
    assert [each["num-examples"] for each in found] == [120, 120]
    assert min(each["accuracy"] for each in found) > 0.9
    classifier = find_classifier(task)
    assert classifier is not None
    assert classifier.name_all(2) == ["0", "1"]
    assert task.schema is not None
    assert list(task.schema) == ["x", "kind", "costly"]


def test_regression_learns_a_number_and_its_outputs_and_metrics_have_the_labels_unit(tmp_path: Path) -> None:
    options = {"label": "price", "ignore": ["id", "costly"], "problem": "regression", "hidden": [32]}
    task, found = train(write_sites(tmp_path), options)
    # The deviation of the price is above 45 in all, and about 35 at a site.
    assert max(each["mae"] for each in found) < 8
    for each in found:
        assert each["mse"] >= each["mae"] ** 2
    assert find_classifier(task) is None
    schema = task.schema
    assert schema is not None
    net = task.build_model()
    net.initialize()
    inputs = ExampleFiles(task, tmp_path).read(tmp_path / "one" / "rows.csv")
    assert inputs[0].shape == (600, 6)
    # A network that knows nothing is near the mean.
    assert abs(net(*inputs).mean().asscalar() - 5030) < 60


def test_rows_to_predict_need_neither_a_label_nor_other_columns(tmp_path: Path) -> None:
    options = {"label": "costly", "ignore": ["id", "price"], "delimiter": ",", "decimal": "."}
    sites = write_sites(tmp_path)
    schema = agree(sites, options)
    (tmp_path / "new.csv").write_text("note,kind,x\nfirst,a,1000\nsecond,never seen,\n")
    (inputs,) = ExampleFiles(load_task(NAME, options, tmp_path, schema), tmp_path).read(tmp_path / "new.csv")
    x: Any = schema["x"]
    assert inputs[0, 0].asscalar() == pytest.approx((1000 - x.mean) / x.std, abs=1e-5)
    # a, b, c, d, any other text
    assert inputs[:, 1:].asnumpy().tolist() == [[1, 0, 0, 0, 0], [0, 0, 0, 0, 1]]
    assert inputs[1, 0].asscalar() == 0


def test_the_test_set_is_left_out_of_what_the_sites_agree_on(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("x,label\n" + "1,a\n3,b\n" * 5)
    (tmp_path / "test.csv").write_text("x,label\n" + "100,a\n" * 5)
    x: Any = agree([tmp_path], {})["x"]
    assert (x.mean, x.std) == (2, 1)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"lable": "costly"}, "lable"),
        ({"label": "costly", "problem": "ranking"}, "ranking"),
        ({"label": "costly", "ignore": ["costly"]}, "costly"),
        ({"label": "costly", "ignore": ["id"], "numeric": ["costly"]}, "problem"),
        ({"label": "costly", "ignore": ["id"], "test": 1.5}, " test=1.5"),
        ({"label": "costly", "ignore": ["id"], "delimiter": "||"}, "||"),
    ],
)
def test_a_wrong_option_is_an_error_that_names_it(
    tmp_path: Path, options: dict[str, Any], named: str
) -> None:
    (site, _) = write_sites(tmp_path)
    with pytest.raises(SettingsError) as error:
        agree([site], options)
    assert named in str(error.value)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("width", [[0], [-1]])
def test_layers_without_units_are_an_error(tmp_path: Path, width: list[int]) -> None:
    options = {"label": "costly", "ignore": ["id"], "hidden": width}
    (site, _) = write_sites(tmp_path)
    with pytest.raises(SettingsError, match="hidden"):
        agree([site], options)


@pytest.mark.parametrize("dropout", [-0.1, 1, 1.5])
def test_a_dropout_that_is_no_share_below_1_is_an_error(tmp_path: Path, dropout: float) -> None:
    options = {"label": "costly", "ignore": ["id"], "dropout": dropout}
    (site, _) = write_sites(tmp_path)
    with pytest.raises(SettingsError, match="dropout"):
        agree([site], options)


def test_a_label_with_fewer_than_two_revealed_values_is_an_error(tmp_path: Path) -> None:
    options = {"label": "costly", "ignore": ["id"]}
    (site, _) = write_sites(tmp_path)
    schema = agree([site], options, min_group=1000)
    with pytest.raises(DataError, match="costly"):
        load_task(NAME, options, site, schema).build_model()


def test_a_wrong_file_ends_the_program_with_2_and_one_line(tmp_path: Path) -> None:
    (site, _) = write_sites(tmp_path)
    path = site / "rows.csv"
    path.write_text(path.read_text() + "1,a,0\n")
    done = subprocess.run(
        [sys.executable, "-m", "client", "check-task", NAME, str(site)],
        cwd=ROOT,
        env={**environment(), "TASK_OPTIONS": json.dumps({"label": "costly"})},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert f"{path}:602: 3 values; expected 5" in line
