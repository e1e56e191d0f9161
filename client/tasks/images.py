"""Images in class folders, and a network of the model zoo that finds the class of an image.

DATA_DIR has a folder for each class, or `train` and `test`, which have such folders. The options in
TASK_OPTIONS, with their defaults:

- `network`: a name of `gluon.model_zoo.vision`.
- `weights`: a file in DATA_DIR to start from, the same at all sites. The last layer is new.
- `freeze`: whether only the last layer is trained and sent.
- `size`: pixels of a side. Images are scaled, and cut to a square. The model zoo's weights are for 224.
- `augment`: whether images are cut at random and mirrored for training.
- `rare`: `other` leaves out classes that have one image, which is an error otherwise.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.data import list_classes, load_image_folders
from client.data.image_files import read_image
from client.model_zoo import build_network, find_weights, load_weights
from client.mx import gluon, mx
from client.task_options import fill_in
from fedmx.errors import SettingsError
from fedmx.schema import Schema

Options = Mapping[str, Any]

# TASK_OPTIONS of the server change these for all sites at once, such as '{"size": 64}'.
DEFAULTS: Options = {
    "network": "mobilenet0.25",
    "weights": "",
    "freeze": False,
    "size": 224,
    "augment": True,
    "rare": "refuse",
}
# Of ImageNet's red, green and blue, for which the model zoo's weights were trained.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# The networks halve an image five times.
SMALLEST = 32

transforms = gluon.data.vision.transforms


def columns(data_dir: Path, options: Options) -> dict[str, NDArray[Any]]:
    """Return the class of each image to train, from which the sites agree on the classes."""
    chosen = _fill_in(options)
    if chosen["weights"]:
        # A file that is missing or does not fit ends a client here, before it reports ready.
        load_weights(build_network(chosen["network"], 2), find_weights(data_dir, chosen["weights"]))
    train, _ = load_image_folders(data_dir, rare=chosen["rare"])
    return {"class": np.array(train.classes)[train.labels]}


def load_data(data_dir: Path, options: Options, schema: Schema) -> tuple[Any, Any]:
    """Return the training and the test set: images float32 (3, size, size), and numbers of classes."""
    chosen = _fill_in(options)
    train, test = load_image_folders(data_dir, CLASSES(schema), rare=chosen["rare"])
    return train.transform_first(_convert(**chosen)), test.transform_first(_convert(chosen["size"]))


def build_model(data_dir: Path, options: Options, schema: Schema) -> gluon.HybridBlock:
    """Build the network, with an output for each class."""
    chosen = _fill_in(options)
    net = build_network(chosen["network"], len(CLASSES(schema)))
    weights = find_weights(data_dir, chosen["weights"])
    # The commands for a trained model, which has all of its arrays, work without the file.
    if weights.is_file():
        load_weights(net, weights)
    return net


def load_example(path: Path, options: Options) -> mx.nd.NDArray:
    """Read an image to apply the network to."""
    return _convert(_fill_in(options)["size"])(read_image(path))


def CLASSES(schema: Schema) -> tuple[str, ...]:  # noqa: N802 - the task API's name
    """Return the names of the classes."""
    return list_classes(schema, "class")


def FROZEN(options: Options) -> list[str]:  # noqa: N802 - the task API's name
    """Return the layers that are not trained."""
    return ["features.*"] if _fill_in(options)["freeze"] else []


def _fill_in(options: Options) -> Options:
    chosen = fill_in(options, DEFAULTS)
    if chosen["size"] < SMALLEST:
        raise SettingsError(f"TASK_OPTIONS: size={chosen['size']}: expected at least {SMALLEST}")
    if chosen["freeze"] and not chosen["weights"]:
        raise SettingsError(
            "TASK_OPTIONS: freeze=true without weights would freeze random numbers; expected weights, the"
            " name of a file in DATA_DIR"
        )
    return chosen


def _convert(size: int, *, augment: bool = False, **_: Any) -> gluon.nn.Sequential:
    cut = [transforms.Resize(size, keep_ratio=True), transforms.CenterCrop(size)]
    # Any of gluon's transforms will do. Random ones draw from the run's SEED, and only for training.
    if augment:
        cut = [transforms.RandomResizedCrop(size, scale=(0.5, 1)), transforms.RandomFlipLeftRight()]
    return transforms.Compose([*cut, transforms.ToTensor(), transforms.Normalize(MEAN, STD)])
