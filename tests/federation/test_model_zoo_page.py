"""docs/first-hour/model-zoo.md: its tasks train."""

from pathlib import Path
from typing import Any

import pytest

from client.mx import mx
from client.trial import run_trial
from examples.shapes.__main__ import write_all
from tests.pages import ROOT, find_code

FEW_IMAGES = 120
QUICK: dict[str, Any] = {"batch_size": 20, "optimizer": "adam", "learning_rate": 0.003, "local_epochs": 1}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the tasks of the page."""
    for name in ("zoo_digits.py", "folders_task.py"):
        (tmp_path / name).write_text(find_code(f"# {name}\n"))
    pretrained = find_code("# folders_task.py\n") + find_code(
        'load_weights(net, data_dir / "backbone.params")'
    )
    (tmp_path / "pretrained_task.py").write_text(pretrained)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.mark.slow
def test_a_network_of_the_model_zoo_learns_digits(folder: Path) -> None:
    trial = run_trial("zoo_digits", ROOT / "data" / "mnist", **{**QUICK, "batch_size": 50, "local_epochs": 4})
    assert trial.training[-1]["accuracy"] > 0.5
    assert trial.evaluation["num-examples"] == 1000


@pytest.mark.slow
def test_the_task_of_folders_starts_from_weights_that_stay_as_they_are(folder: Path) -> None:
    write_all(folder / "shapes", 1, FEW_IMAGES)
    site = folder / "shapes" / "sites" / "1"
    first = run_trial("folders_task", site, **QUICK)
    assert first.schema is not None
    assert first.arrays["output.weight"].shape[0] == 4
    mx.nd.save(
        str(site / "backbone.params"), {name: mx.nd.array(each) for name, each in first.arrays.items()}
    )
    second = run_trial("pretrained_task", site, **QUICK)
    changed = {name for name, each in second.arrays.items() if (each != first.arrays[name]).any()}
    assert changed == {"output.weight", "output.bias"}
