"""docs/first-hour/images.md: its commands train two sites from pretrained weights, and predict."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from client.data import ImageFolder
from client.model_zoo import build_network, load_weights
from client.mx import mx
from client.tasks.images import DEFAULTS
from fedmx.errors import DataError
from tests.bounds import HANG_S
from tests.client.given.pictures import BASELINE, write_classes
from tests.pages import ROOT
from tests.walk import Walk, walk_page

PATH = ROOT / "docs" / "first-hour" / "images.md"
PAGE = PATH.read_text()
CLASSES = ["circle", "cross", "square", "triangle"]


@pytest.fixture
def page(tmp_path_factory: pytest.TempPathFactory) -> Walk:
    """The page, with two rounds in each run."""
    walk = walk_page(PATH, tmp_path_factory)
    walk.check()
    return walk


def list_runs(page: Walk) -> list[Path]:
    """Return the folders of the runs, in their order."""
    return sorted(path for path in (page.folder / "runs").iterdir() if re.match(r"\d{8}-", path.name))


def read_history(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_the_pictures_are_in_the_folders_that_the_page_shows(page: Walk) -> None:
    (step,) = page.find("^ls ")
    assert step.printed == step.shown
    sites = page.folder / "data" / "shapes" / "sites"
    counts = {site: [len(list((sites / site / name).iterdir())) for name in CLASSES] for site in ("1", "2")}
    assert counts == {"1": [80, 40, 40, 40], "2": [40, 80, 40, 40]}


@pytest.mark.slow
def test_both_kinds_of_training_beat_a_guess_clearly(page: Walk) -> None:
    _, frozen, whole = list_runs(page)
    for run in (frozen, whole):
        evaluated = read_history(run)[-1]["evaluate"]
        assert evaluated["num_examples"] == 80
        # The most frequent class has 30 % of the pictures.
        assert evaluated["metrics"]["accuracy"] > 0.5


@pytest.mark.slow
def test_a_frozen_backbone_moves_at_most_an_eighth_of_the_model_in_a_round(page: Walk) -> None:
    _, frozen, whole = list_runs(page)
    with np.load(frozen / "model.npz") as model:
        size = sum(model[name].nbytes for name in model)
    # Of the whole network, a node is sent the model twice in round 1; later, it trains what it has evaluated.
    for run, least, most in ((frozen, [0.0, 0.0], [0.12, 0.12]), (whole, [2.9, 1.9], [3.1, 2.1])):
        rounds = read_history(run)
        assert len(rounds) == 2
        for number, line in enumerate(rounds):
            moved = [node["bytes_up"] + node["bytes_down"] for node in line["nodes"]]
            assert len(moved) == 2
            assert least[number] * size < min(moved)
            assert max(moved) < most[number] * size


@pytest.mark.slow
def test_the_frozen_layers_are_those_of_the_file_bit_for_bit(page: Walk) -> None:
    pretrained, frozen, whole = (dict(np.load(run / "model.npz")) for run in list_runs(page))
    features = [name for name in pretrained if name.startswith("features.")]
    assert len(features) == len(pretrained) - 2
    assert all(frozen[name].tobytes() == pretrained[name].tobytes() for name in features)
    assert not any(whole[name].tobytes() == pretrained[name].tobytes() for name in features)


def change_weight(path: Path) -> None:
    """Change one number of a file of weights."""
    weights = mx.nd.load(str(path))
    weights["features.0.weight"][0, 0, 0, 0] += 1
    mx.nd.save(str(path), weights)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoil", "code", "named"),
    [
        # The site itself knows that its file is missing; only the server can tell that two files differ.
        (Path.unlink, 2, "2/backbone.params: not found"),
        (change_weight, 4, "nodes 2 built different initial arrays than node 1"),
    ],
    ids=["missing", "different"],
)
def test_a_site_without_the_weights_of_the_others_ends_the_run_before_round_1(
    page: Walk, tmp_path: Path, spoil: Callable[[Path], object], code: int, named: str
) -> None:
    shutil.copytree(page.folder / "data" / "shapes" / "sites", tmp_path / "sites")
    spoil(tmp_path / "sites" / "2" / "backbone.params")
    done = subprocess.run(
        [sys.executable, "-m", "local"],
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            "RUNS_DIR": str(tmp_path / "runs"),
            "LISTEN_ADDRESS": "127.0.0.1:0",
            "LINK_SECURITY": "insecure",
            "TASK": "client.tasks.images",
            "TASK_OPTIONS": '{"size": 64, "weights": "backbone.params"}',
            "DATA_DIR": f"{tmp_path}/sites/{{n}}",
        },
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert named in done.stdout + done.stderr
    assert "round finished" not in done.stdout + done.stderr


@pytest.mark.slow
def test_a_new_picture_gets_a_class_with_its_name(page: Walk) -> None:
    (step,) = page.find("client predict")
    line = rf"\S*new/(\w+)\.png\[0\]: class ({'|'.join(CLASSES)}), probability [01]\.\d{{4}}"
    for text in (step.shown, step.printed):
        found = [re.fullmatch(line, each) for each in text.splitlines()]
        assert [match[1] for match in found if match] == ["cross", "triangle"]


@pytest.mark.slow
def test_a_site_is_evaluated_with_the_names_of_its_classes(page: Walk) -> None:
    (step,) = page.find("client evaluate")
    assert "40 examples" in step.printed
    for name in CLASSES:
        assert re.search(rf"^{name} +\d+ +\d+ +\d+ +\d+ ", step.printed, re.MULTILINE)


@pytest.mark.slow
def test_the_page_has_the_columns_of_the_real_table(page: Walk) -> None:
    (header,) = re.findall(r"^  round   nodes .*$", PAGE, re.MULTILINE)
    assert all(header in step.printed for step in page.find("make run"))


def test_the_page_has_the_options_of_the_task_with_their_defaults() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `(.*?)` \|", PAGE, re.MULTILINE)
    assert {name: json.loads(default) for name, default in rows} == DEFAULTS


def test_the_page_has_the_lines_of_wrong_files(tmp_path: Path) -> None:
    write_classes(tmp_path, cat=2, dog=2)
    found = []
    for name, content in {"0017.jpg": BASELINE[:-9], "notes.txt": b"a cat"}.items():
        (tmp_path / "cat" / name).write_bytes(content)
        found.append(find_error(tmp_path))
        (tmp_path / "cat" / name).unlink()
    write_classes(tmp_path, lynx=1)
    found.append(find_error(tmp_path))
    shutil.rmtree(tmp_path / "lynx")
    with pytest.raises(DataError) as caught:
        load_weights(build_network("mobilenet0.25", 2), tmp_path / "backbone.params")
    found.append(str(caught.value))
    for line in found:
        shown = line.replace(str(tmp_path), "/data").replace(str(len(BASELINE) - 9), "48211")
        assert f"\n{shown}\n" in PAGE


def find_error(folder: Path) -> str:
    with pytest.raises(DataError) as caught:
        ImageFolder(folder)
    return str(caught.value)
