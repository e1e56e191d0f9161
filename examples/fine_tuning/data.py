"""Digits as colour images of 32 x 32: all of them to pretrain a network, upside down to tune it."""

from pathlib import Path

import numpy as np

from client.data.idx import read_idx_dataset

WEIGHTS = Path(__file__).with_name("pretrained.params")


def load_digits(data_dir="data/mnist"):
    """Return 1000 training and 500 test images upside down, each (float32 (n, 3, 32, 32), int64 (n,))."""
    train, test = load_upright_digits(data_dir)
    return [(np.flip(images, (2, 3))[:1000].copy(), labels[:1000]) for images, labels in (train, test)]


def load_upright_digits(data_dir="data/mnist"):
    """Return 4000 training and 500 test images from -1 to 1."""
    train, test = read_idx_dataset(Path(data_dir))
    return _convert(train, 4000), _convert(test, 500)


def _convert(data, count):
    images = np.pad(data.examples[:count] / 127.5 - 1, ((0, 0), (2, 2), (2, 2)), constant_values=-1)
    return np.repeat(images[:, None], 3, axis=1).astype(np.float32), data.labels[:count]
