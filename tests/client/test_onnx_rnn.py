"""Recurrent layers in ONNX compute what MXNet's do."""

import numpy as np
import onnxruntime
import pytest

from client.__main__ import main
from client.loading import build_network
from client.mx import mx
from client.saved_run import find_run
from client.task import load_task
from tests.client.given.saved_runs import IMAGES, Workplace, initialize

STACKED = """
from client.mx import gluon
from images import load_data

class Model(gluon.HybridBlock):
    def __init__(self, kind, units):
        super().__init__()
        self.layers = getattr(gluon.rnn, kind)(units, num_layers=2, layout="NTC")

    def hybrid_forward(self, F, x):
        return self.layers(x)

def build_model(options):
    return Model(options["kind"], options["units"])
"""


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("units", [3, 5, 8])
def test_onnxruntime_computes_stacked_recurrent_layers_of_any_width(
    workplace: Workplace, kind: str, units: int
) -> None:
    workplace.write_task("images", IMAGES)
    options = {"kind": kind, "units": units}
    task = load_task(workplace.write_task("stacked", STACKED), options)
    workplace.save_run("stacked", initialize(task.build_model(), (2, 4, 5)), options=options)
    main(["export", "latest", "--format", "onnx", "--output", "model.onnx", "--input", "4,5"])
    session = onnxruntime.InferenceSession("model.onnx")
    examples = np.random.default_rng(1).normal(size=(9, 4, 5)).astype(np.float32)
    outputs = session.run(None, {"data": examples})[0]
    net = build_network(task, find_run("latest"))
    assert abs(outputs - net(mx.nd.array(examples)).asnumpy()).max() <= 1e-5
