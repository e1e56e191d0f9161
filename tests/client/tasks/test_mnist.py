"""The default task on MNIST: the tutorial's network, its input, and that it learns."""

from pathlib import Path

import numpy as np
import pytest

from client import model
from client.data import Dataset
from client.data.idx import read_idx_dataset
from client.task import load_task
from client.tasks import mnist
from client.training import evaluate, train
from tests.client.given.small import how, inputs_of, put_data

MNIST = Path(__file__).parents[3] / "data" / "mnist"


@pytest.fixture(scope="module")
def sets() -> tuple[Dataset, Dataset]:
    return load_task("client.tasks.mnist").load_data(MNIST)


def test_the_network_has_256_and_64_units_and_10_outputs(sets: tuple[Dataset, Dataset]) -> None:
    net = mnist.build_model()
    model.initialize(net, 0, inputs_of(sets[0].examples[:2]))
    shapes = {name: parameter.shape for name, parameter in model.name_parameters(net).items()}
    assert list(shapes.items()) == [
        ("0.weight", (256, 784)),
        ("0.bias", (256,)),
        ("1.weight", (64, 256)),
        ("1.bias", (64,)),
        ("2.weight", (10, 64)),
        ("2.bias", (10,)),
    ]
    assert [layer.act is not None for layer in net] == [True, True, False]


def test_images_are_from_0_to_1_and_labels_are_digits(sets: tuple[Dataset, Dataset]) -> None:
    for dataset, count in zip(sets, (60_000, 10_000), strict=True):
        assert dataset.examples.shape == (count, 1, 28, 28)
        assert dataset.examples.dtype == np.float32
        assert (dataset.examples.min(), dataset.examples.max()) == (0, 1)
        assert dataset.labels.dtype == np.int64
        assert np.unique(dataset.labels).tolist() == list(range(10))


def test_an_image_is_its_files_bytes_over_255(sets: tuple[Dataset, Dataset]) -> None:
    raw, _ = read_idx_dataset(MNIST)
    for index in (0, 59_999):
        expected = raw.examples[index].astype(np.float32) / np.float32(255)
        assert (sets[0].examples[index, 0] == expected).all()


def test_one_epoch_with_6000_images_learns_most_digits(sets: tuple[Dataset, Dataset]) -> None:
    task = load_task("client.tasks.mnist")
    (examples, labels), test = (sets[0].examples[:6000], sets[0].labels[:6000]), sets[1]
    net = task.build_model()
    model.initialize(net, 0, inputs_of(examples[:2]))
    net.hybridize(static_alloc=True, static_shape=True)
    context = how(1, 100, learning_rate=0.05, momentum=0.9)
    means = train(net, task, put_data(examples, labels), context, [0, 1, 0])
    assert means["num-examples"] == 6000
    measured = evaluate(net, task, put_data(test.examples, test.labels), context)
    assert measured["num-examples"] == 10_000
    assert measured["accuracy"] > 0.8
