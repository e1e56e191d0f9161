"""The tiny task, with forked workers that load its data and compute its metrics."""

import multiprocessing
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from client.mx import gluon, mx
from client.task import accuracy
from tests.federation.tasks import tiny_task
from tests.federation.tasks.tiny_task import Sets, build_model

__all__ = ["build_model"]


def load_data(data_dir: Path) -> tuple[Sets, Sets]:
    # Leaving the block sends SIGTERM to the workers.
    with multiprocessing.Pool(4) as pool:
        (examples, labels), test = pool.map(_load, [(data_dir, 0), (data_dir, 1)])
    dataset = gluon.data.ArrayDataset(mx.nd.array(examples), labels)
    loaded = [batch for batch, _ in gluon.data.DataLoader(dataset, 20, num_workers=2)]
    _start_many()
    # Lasts until the client ends, however it ends.
    worker = multiprocessing.Process(target=time.sleep, args=(3600,))
    worker.start()
    print(f"worker={worker.pid}", flush=True)
    return (np.concatenate([batch.asnumpy() for batch in loaded]), labels), test


def metrics(outputs: mx.nd.NDArray, labels: mx.nd.NDArray) -> Mapping[str, Any]:
    with multiprocessing.Pool(2) as pool:
        assert pool.map(abs, [-1, -2]) == [1, 2]
    return accuracy(outputs, labels)


def _start_many() -> None:
    """Start many workers: a library that breaks some of them breaks a few in a hundred."""
    for _ in range(10):
        workers = [multiprocessing.Process(target=time.sleep, args=(0.03,)) for _ in range(10)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert {worker.exitcode for worker in workers} == {0}


def _load(which: tuple[Path, int]) -> Sets:
    data_dir, number = which
    return tiny_task.load_data(data_dir)[number]
