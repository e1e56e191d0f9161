"""What a task may return as loss and metrics, and the error for anything else."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from client.mx import mx
from client.task import Task
from client.training import evaluate, train
from fedmx.errors import SettingsError
from tests.client.given.small import (
    CLASSES,
    how,
    make_clusters,
    make_mlp,
    make_ones,
    make_scale,
    make_task,
    put_data,
    scores_of,
)
from tests.pages import find_code


@pytest.mark.parametrize("batch_size", [1, 7, 60])
def test_the_f1_that_the_docs_compute_from_means_is_that_of_the_whole_set(batch_size: int) -> None:
    names: dict[str, Any] = {}
    exec(find_code('"tp":'), names)  # noqa: S102 - code of the docs
    labels = np.arange(60) % 3 == 0
    data = put_data(np.where(np.arange(60) % 5 < 3, 1.0, -1.0)[:, None], labels)
    means = evaluate(make_scale(), make_task(metrics=names["metrics"]), data, how(batch_size=batch_size))
    f1 = 2 * means["tp"] / (2 * means["tp"] + means["fp"] + means["fn"])
    guesses = np.arange(60) % 5 < 3
    precision, recall = labels[guesses].mean(), guesses[labels].mean()
    assert f1 == pytest.approx(2 * precision * recall / (precision + recall))


def test_a_metric_may_be_rows_or_a_mean_of_any_type_of_number() -> None:
    def metrics(outputs: mx.nd.NDArray, labels: mx.nd.NDArray) -> dict[str, object]:
        hits = outputs.argmax(axis=1) == labels
        rows = hits.asnumpy()
        return {
            "mxnet-rows": hits,
            "mxnet-mean": hits.mean(),
            "mxnet-half": hits.astype("float16"),
            "numpy-rows": rows,
            "numpy-mean": rows.mean(dtype=np.float32),
            "numpy-many": np.stack([rows, rows], axis=1),
            "double": np.float64(rows.mean()),
            "float": float(rows.mean()),
            "list": rows.tolist(),
            "whole": np.int64(3),
        }

    net, data = make_mlp(), make_clusters(13)
    hits = int((scores_of(net, data).argmax(axis=1) == data.labels.asnumpy()).sum())
    means = evaluate(net, make_task(CLASSES.loss, metrics), data, how(batch_size=4))
    assert means.pop("whole") == 3
    del means["loss"], means["num-examples"]
    assert len(means) == 9
    assert means == {name: pytest.approx(hits / 13, abs=1e-6) for name in means}
    assert all(type(value) is float for value in means.values())


@pytest.mark.parametrize("name", ["loss", "num-examples"])
def test_a_metric_with_a_name_that_is_always_measured_is_refused(name: str) -> None:
    task = make_task(metrics=lambda *_: {name: 1.0})
    with pytest.raises(SettingsError) as caught:
        evaluate(make_scale(), task, make_ones(2), how(batch_size=2))
    assert (
        str(caught.value)
        == f"TASK=by-hand: metrics() returned {name!r}, which is always measured; expected other names"
    )


def raise_it(*_: object) -> Any:
    raise KeyError("columns")


@pytest.mark.parametrize(
    ("task", "part"),
    [(make_task(raise_it), "the loss"), (make_task(metrics=raise_it), "metrics()")],
)
def test_an_exception_of_the_task_is_one_line_that_names_the_part(task: Task, part: str) -> None:
    net, data = make_scale(), make_ones(2)
    with pytest.raises(SettingsError) as trained:
        train(net, task, data, how(), [0])
    with pytest.raises(SettingsError) as evaluated:
        evaluate(net, task, data, how(batch_size=2))
    line = raise_it.__code__.co_firstlineno + 1
    message = f"TASK=by-hand: {part} raised KeyError: 'columns' ({Path(__file__).name}:{line})"
    assert str(trained.value) == str(evaluated.value) == message


def test_examples_that_do_not_fit_the_network_are_one_line() -> None:
    with pytest.raises(SettingsError) as caught:
        evaluate(make_mlp(hybridized=False), make_task(), make_ones(2), how(batch_size=2))
    assert str(caught.value).startswith("TASK=by-hand: the network raised MXNetError: Shape inconsistent, ")


@pytest.mark.parametrize("name", [3, "", "a b", "größe", "line\n", "x" * 65])
def test_a_metric_with_a_name_that_a_history_cannot_have_is_refused(name: Any) -> None:
    with pytest.raises(SettingsError, match=r"metrics\(\) returned the name .*expected at most 64 letters"):
        evaluate(make_scale(), make_task(metrics=lambda *_: {name: 1.0}), make_ones(2), how())


def test_metrics_that_return_none_are_refused() -> None:
    nothing: Any = None
    with pytest.raises(SettingsError) as caught:
        evaluate(make_scale(), make_task(metrics=lambda *_: nothing), make_ones(2), how(batch_size=2))
    assert str(caught.value) == "TASK=by-hand: metrics() returned None; expected a dict of values by name"


def test_a_loss_or_metric_with_another_number_of_rows_is_refused() -> None:
    message = "TASK=by-hand: {} has shape {} for a batch of 2; expected one row per example"
    mean = make_task(lambda outputs, labels: (outputs - labels).mean())
    with pytest.raises(SettingsError) as caught:
        train(make_scale(), mean, make_ones(2), how(), [0])
    assert str(caught.value) == message.format("loss", (1,))
    with pytest.raises(SettingsError) as caught:
        evaluate(make_scale(), mean, make_ones(2), how(batch_size=2))
    assert str(caught.value) == message.format("loss", (1,))
    task = make_task(metrics=lambda *_: {"odd": np.ones(3)})
    with pytest.raises(SettingsError) as caught:
        evaluate(make_scale(), task, make_ones(2), how(batch_size=2))
    assert str(caught.value) == message.format("odd", (3,))


@pytest.mark.parametrize("kind", ["ndarray", "list", "float", "NoneType"])
def test_a_loss_that_is_not_an_mxnet_array_is_refused_by_its_type(kind: str) -> None:
    values: dict[str, Any] = {"ndarray": np.ones(2), "list": [1.0, 1.0], "float": 1.0, "NoneType": None}
    task = make_task(lambda *_: values[kind])
    with pytest.raises(SettingsError) as trained:
        train(make_scale(), task, make_ones(2), how(), [0])
    with pytest.raises(SettingsError) as evaluated:
        evaluate(make_scale(), task, make_ones(2), how(batch_size=2))
    found = kind.replace("NoneType", "None")
    assert str(trained.value) == str(evaluated.value)
    assert re.match(f"TASK=by-hand: the loss returned .*{found}; expected an MXNet array", str(trained.value))


def test_metrics_whose_names_change_between_batches_are_refused() -> None:
    task = make_task(metrics=lambda _, labels: {"short": labels} if len(labels) == 1 else {"a": labels})
    with pytest.raises(SettingsError, match="returned a, short for some batches only"):
        evaluate(make_scale(), task, make_ones(3), how(batch_size=2))
