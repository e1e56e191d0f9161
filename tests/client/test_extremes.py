"""Every number that a setting accepts works with MXNet and numpy, or is refused with a clear error."""

import contextlib
import sys
from dataclasses import replace
from subprocess import run

import numpy as np
import pytest

from client.context import Context
from client.cuda import Card, Visible, choose_cards
from client.model import initialize
from client.mx import gluon, mx
from client.partition import split_indices, split_test_indices
from client.training import evaluate, train
from fedmx.errors import FederationError
from fedmx.settings import ClientSettings, ServerSettings
from fedmx.values import PartitionRule
from tests.client.given.small import CLASSES, inputs_of, make_clusters, make_mlp, values_of
from tests.extremes import EXTREMES, list_accepted

LABELS = np.arange(40) % 4


@pytest.mark.parametrize("name", ["LEARNING_RATE", "MOMENTUM", "PROXIMAL_MU", "BATCH_SIZE", "SEED"])
def test_a_node_trains_or_reports_divergence_at_every_accepted_number(name: str) -> None:
    data = make_clusters(10)
    for settings in list_accepted(ServerSettings, name).values():
        context = Context(replace(settings.hyperparameters, local_epochs=1))
        net = make_mlp()
        with contextlib.suppress(FederationError):
            train(net, CLASSES, data, context, [settings.seed, 1, 0])
            assert all(np.isfinite(values).all() for values in values_of(net))
            evaluate(net, CLASSES, data, context)


def test_initial_arrays_are_drawn_from_every_accepted_seed() -> None:
    drawn = set()
    seeds = {settings.seed for settings in list_accepted(ServerSettings, "SEED").values()}
    for seed in seeds:
        net = gluon.nn.Dense(3)
        initialize(net, seed, inputs_of(np.ones((1, 4), np.float32)))
        drawn.add(values_of(net)[0].tobytes())
    assert len(drawn) > len(seeds) / 2


@pytest.mark.parametrize("kind", ["dirichlet", "labels", "shards"])
def test_a_dataset_is_split_or_refused_at_every_accepted_number(kind: str) -> None:
    for text in EXTREMES:
        with contextlib.suppress(ValueError, FederationError):
            rule = PartitionRule.parse(f"{kind}:{text}")
            parts = split_indices(LABELS, rule, 4, seed=2**63 - 1)
            assert sorted(np.concatenate(parts).tolist()) == list(range(len(LABELS)))
    assert len(split_test_indices(len(LABELS), 4, seed=2**63 - 1)) == 4


def test_every_accepted_gpu_index_is_used_or_refused() -> None:
    visible = Visible((Card("a card", (8, 0)),))
    for settings in list_accepted(ClientSettings, "GPU_INDEX").values():
        with contextlib.suppress(FederationError):
            assert choose_cards(has_cuda=True, visible=visible, gpu_index=settings.gpu_index) == [0]


def test_mxnet_computes_with_the_largest_accepted_number_of_threads() -> None:
    most = max(
        settings.client_threads for settings in list_accepted(ClientSettings, "CLIENT_THREADS").values()
    )
    code = "from client.mx import mx; a = mx.nd.ones((500, 500)); print((a * a).sum().asscalar())"
    done = run(
        [sys.executable, "-c", code],
        env={"CLIENT_THREADS": str(most)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "250000.0\n"), done.stderr
    assert mx.nd.ones(1).asscalar() == 1
