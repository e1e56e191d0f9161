"""The task of `plain.py`: frozen parameters are never trained and never sent."""

from client.mx import gluon
from examples.fine_tuning.data import WEIGHTS, load_digits

FROZEN = ["features.*"]


def build_model():
    net = gluon.model_zoo.vision.mobilenet0_25(classes=10)
    net.features.load_parameters(str(WEIGHTS))
    return net


def load_data(data_dir):
    return load_digits(data_dir)
