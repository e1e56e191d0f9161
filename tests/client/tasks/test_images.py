"""The task of images: what the network gets, what is frozen, and the error of each wrong option."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from client import model
from client.classifier import find_classifier
from client.example_files import ExampleFiles
from client.mx import autograd, gluon, mx
from client.png import encode
from client.seeding import seed_all
from client.task import load_task
from client.tasks.images import MEAN, STD
from client.trial import Trial, run_trial
from fedmx.errors import DataError, SettingsError
from fedmx.schema import Categorical, Schema

NAME = "client.tasks.images"
SIZE = 32
SCHEMA = Schema({"class": Categorical(("blue", "green", "red"))})
QUICK = {"batch_size": 10, "optimizer": "adam", "learning_rate": 0.01, "local_epochs": 3}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Trial]:
    """A folder with noisy pictures of three colors and with weights, and the trial they are from."""
    site = tmp_path_factory.mktemp("site")
    rng = np.random.default_rng(0)
    for channel, name in enumerate(("red", "green", "blue")):
        (site / name).mkdir()
        for number in range(12):
            pixels = rng.integers(0, 90, (30 + number, 50, 3), np.uint8)
            pixels[..., channel] += 120
            (site / name / f"{number}.png").write_bytes(encode(pixels))
    # Fewer steps would leave running statistics that the features are not made for.
    trial = run_trial(NAME, site, 6, {"size": SIZE}, **QUICK)
    mx.nd.save(str(site / "w.params"), {name: mx.nd.array(values) for name, values in trial.arrays.items()})
    return site, trial


@pytest.fixture
def site(trained: tuple[Path, Trial]) -> Path:
    """The folder."""
    return trained[0]


def load(site: Path, **options: Any) -> Any:
    return load_task(NAME, {"size": SIZE, **options}, site, SCHEMA)


def read(data: gluon.data.Dataset) -> list[Any]:
    seed_all(5)
    return [(image.asnumpy(), label) for image, label in data]


def test_images_are_scaled_cut_and_normalized_as_the_model_zoo_expects(site: Path) -> None:
    _, test = load(site).load_data(site)
    assert len(test) == 6
    for image, label in read(test):
        assert image.shape == (3, SIZE, SIZE)
        pixels = image * np.reshape(STD, (3, 1, 1)) + np.reshape(MEAN, (3, 1, 1))
        assert (pixels.min(), pixels.max()) > (-0.001, 0.6)
        assert pixels.max() < 1
        # Red is the first channel and the last class.
        assert pixels.mean(axis=(1, 2)).argmax() == 2 - label


def test_only_images_to_train_are_cut_at_random_and_the_seed_decides_how(site: Path) -> None:
    train, test = load(site).load_data(site)
    first, again = read(train), read(train)
    assert all((one == two).all() for (one, _), (two, _) in zip(first, again, strict=True))
    # Another draw of the same images.
    others = [image.asnumpy() for image, _ in train]
    assert not all((one == two).all() for (one, _), two in zip(first, others, strict=True))
    fixed, plain = read(test), [image.asnumpy() for image, _ in test]
    assert all((one == two).all() for (one, _), two in zip(fixed, plain, strict=True))
    plain_train, _ = load(site, augment=False).load_data(site)
    once, twice = read(plain_train), [image.asnumpy() for image, _ in plain_train]
    assert all((one == two).all() for (one, _), two in zip(once, twice, strict=True))


def test_a_file_to_predict_gives_the_input_that_the_test_set_has(site: Path) -> None:
    task = load(site)
    _, test = task.load_data(site)
    path = test._data.paths[0]
    (found,) = ExampleFiles(task, site).read(path)
    assert (found[0].asnumpy() == test[0][0].asnumpy()).all()
    classifier = find_classifier(task)
    assert classifier is not None
    assert classifier.names == ("blue", "green", "red")


def test_a_network_without_weights_learns_the_classes_that_the_site_has(trained: tuple[Path, Trial]) -> None:
    _, trial = trained
    assert trial.schema is not None
    assert trial.schema["class"] == SCHEMA["class"]
    assert trial.arrays["output.weight"].shape[0] == 3
    assert trial.training[-1]["accuracy"] > 0.8


def test_a_frozen_backbone_keeps_every_bit_and_the_new_layer_learns(site: Path) -> None:
    given = mx.nd.load(str(site / "w.params"))
    features = {name: values for name, values in given.items() if name.startswith("features.")}
    mx.nd.save(str(site / "features.params"), features)
    how = {"size": SIZE, "weights": "features.params", "freeze": True}
    trial = run_trial(NAME, site, 3, how, **QUICK)
    assert trial.arrays.keys() - features.keys() == {"output.weight", "output.bias"}
    for name in features:
        assert trial.arrays[name].tobytes() == given[name].asnumpy().tobytes(), name
    assert trial.training[-1]["accuracy"] > 0.8
    assert trial.evaluation["accuracy"] > 0.8


def test_a_frozen_backbone_has_the_same_features_in_training_and_in_evaluation(site: Path) -> None:
    task = load(site, weights="w.params", freeze=True)
    net = task.build_model()
    model.freeze(net, model.name_parameters(net), task.frozen)
    net.hybridize(static_alloc=True, static_shape=True)
    images = mx.nd.random.normal(shape=(4, 3, SIZE, SIZE))
    evaluated = net(images).asnumpy()
    with autograd.record():
        trained = net(images)
    trained.backward()
    np.testing.assert_allclose(trained.asnumpy(), evaluated, rtol=1e-4, atol=1e-5)


def test_a_backbone_that_is_not_frozen_starts_from_the_weights_and_changes(site: Path) -> None:
    task = load(site, weights="w.params")
    assert task.frozen == ()
    trial = run_trial(NAME, site, 1, {"size": SIZE, "weights": "w.params"}, **QUICK)
    given = mx.nd.load(str(site / "w.params"))
    assert (trial.arrays["features.0.weight"] != given["features.0.weight"].asnumpy()).any()


def test_a_trained_model_is_built_without_the_file_of_weights(site: Path) -> None:
    net = load(site, weights="gone.params", freeze=True).build_model()
    assert all(parameter._data is None for parameter in net.collect_params().values())


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"wights": "w.params"}, "wights"),
        ({"size": 31}, "size=31"),
        ({"size": "64"}, "size='64'"),
        ({"freeze": True}, "without weights"),
        ({"network": "resnet17"}, "resnet17"),
        ({"weights": "../w.params"}, "../w.params"),
        ({"rare": "keep"}, "keep"),
    ],
)
def test_a_wrong_option_is_one_line_before_the_sites_agree(
    site: Path, options: dict[str, Any], named: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        run_trial(NAME, site, 1, options)
    (line,) = str(caught.value).splitlines()
    assert named in line


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"weights": "gone.params"}, "gone.params"),
        ({"weights": "w.params", "network": "alexnet"}, "w.params"),
    ],
)
def test_weights_that_are_missing_or_of_another_network_are_named(
    site: Path, options: dict[str, Any], named: str
) -> None:
    with pytest.raises(DataError) as caught:
        run_trial(NAME, site, 1, options)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"{site}/{named}: ")
