"""The default task: handwritten digits with the multilayer perceptron of MXNet's digit tutorial."""

from pathlib import Path

import numpy as np

from client.data import Dataset
from client.data.idx import read_idx_dataset
from client.mx import gluon


def build_model() -> gluon.HybridBlock:
    """Build the network: layers of 256, 64 and 10 units. The first one flattens the images."""
    # Any gluon Block will do. Its parameters get their initial values from the run's SEED.
    net = gluon.nn.HybridSequential()
    net.add(
        gluon.nn.Dense(256, activation="relu"),
        gluon.nn.Dense(64, activation="relu"),
        # One output for each class, without softmax: the default loss contains it.
        gluon.nn.Dense(10),
    )
    return net


def load_data(data_dir: Path) -> tuple[Dataset, Dataset]:
    """Read the training and the test set: images float32 (n, 1, 28, 28) from 0 to 1, labels int64 (n,)."""
    # `data_dir` is DATA_DIR. Every site reads its own files; nothing that is read here leaves the site.
    # A pair of numpy arrays, (examples, labels), does as well as a Dataset.
    train, test = read_idx_dataset(data_dir)
    return _as_network_input(train), _as_network_input(test)


def _as_network_input(dataset: Dataset) -> Dataset:
    # The same arithmetic at every site: a constant, never a mean of this site's own data.
    images = dataset.examples[:, None].astype(np.float32)
    images /= 255
    return Dataset(images, dataset.labels)
