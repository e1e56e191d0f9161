"""A node's training and evaluation without a federation, one step per line of text from the parent process.

`python -m bench.alone PORT PARTITION` connects to the parent, sends `ready`, and `done` after every step.
"""

import socket
import sys

import numpy as np

from bench.flower_app.null_app.rounds import NODES
from client import model, training
from client.batches import DeviceData, read_batch
from client.context import Context
from client.device import find_devices
from client.mx import mx
from client.partition import split_indices, split_test_indices
from client.task import load_task
from fedmx.settings import ClientSettings, ServerSettings, load


class LoneNode:
    """The task on one partition, with the settings of server and client."""

    def __init__(self, partition: int) -> None:
        client_settings = load(ClientSettings)
        self._settings = load(ServerSettings)
        self._partition = partition
        self._task = load_task(client_settings.task, data_dir=client_settings.data_dir)
        train, test = self._task.load_data(client_settings.data_dir)
        devices = find_devices(client_settings.device, client_settings.gpu_index).for_partition(partition)
        rule = self._settings.partition
        seed = self._settings.seed
        chosen = split_indices(train.labels, rule, NODES, seed)[partition]
        self._train_data = DeviceData.put(train, devices[0], chosen)
        chosen = split_test_indices(len(test), NODES, seed)[partition]
        self._test_data = DeviceData.put(test, devices[0], chosen)
        self._net = self._task.build_model()
        sample = read_batch(train, np.arange(2), mx.cpu())
        model.initialize(self._net, seed, sample.inputs)
        self._net.collect_params().reset_ctx(list(devices))
        self._context = Context(self._settings.hyperparameters, 1, devices)
        self._net.hybridize(static_alloc=True, static_shape=True)

    def train(self, number: int) -> None:
        """Train a round's epochs, continuing from the round before."""
        seed = [self._settings.seed, number, self._partition]
        training.train(self._net, self._task, self._train_data, self._context, seed)

    def evaluate(self) -> None:
        """Evaluate on this partition's part of the test set."""
        training.evaluate(self._net, self._task, self._test_data, self._context)


def main(port: str, partition: str) -> None:
    """Carry out steps until the parent closes the connection."""
    with socket.create_connection(("127.0.0.1", int(port))) as link, link.makefile("rw") as lines:
        node = LoneNode(int(partition))
        print("ready", file=lines, flush=True)
        for line in lines:
            step, number = line.split()
            if step == "train":
                node.train(int(number))
            else:
                node.evaluate()
            print("done", file=lines, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
