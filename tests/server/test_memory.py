"""What rounds need of the server's memory, against what was measured and what the process may use."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord

from fedmx import memory as limits
from fedmx.errors import SettingsError
from fedmx.settings import ServerSettings
from fedmx.values import PartitionRule
from server import memory, strategies
from server.layout import Layout
from tests.server.nodes import NullNode, Table

MB = 1_000_000


def make_layout(size: int, arrays: int = 25) -> Layout:
    shape = (size // 4 // arrays,)
    loss = frozenset(["loss"])
    return Layout({f"{i}.weight": ("float32", shape) for i in range(arrays)}, frozenset(), loss, loss)


def test_frozen_arrays_need_memory_once_and_not_for_every_update() -> None:
    layout = make_layout(100 * MB)
    half = replace(layout, frozen=frozenset(list(layout.arrays)[:12]))
    settings = ServerSettings()
    whole, saved = (
        [memory.estimate(each, updates, settings) for updates in (10, 20)] for each in (layout, half)
    )
    assert (saved[1] - saved[0]) / (whole[1] - whole[0]) == pytest.approx(13 / 25, rel=0.05)


# Peaks of whole server processes in MB, measured over three rounds with nodes that return what they receive:
# the highest of one to three runs, on a busy machine, where more replies are held at the same time.
@pytest.mark.parametrize(
    ("strategy", "nodes", "size", "arrays", "peak"),
    [
        ("fedavg", 2, 50, 25, 462),
        ("fedavg", 2, 100, 25, 738),
        ("fedavg", 5, 100, 25, 1279),
        ("fedavg", 8, 100, 25, 1619),
        ("fedavg", 2, 200, 25, 1349),
        ("fedavg", 2, 100, 1, 882),
        ("fedavg", 5, 100, 1, 1213),
        ("fedavgm", 2, 100, 25, 965),
        ("fedavgm", 5, 100, 25, 1380),
        ("fedavgm", 2, 100, 1, 1203),
        ("fedadam", 2, 100, 25, 1539),
        ("fedadam", 5, 100, 25, 1816),
        ("fedadam", 2, 100, 1, 1553),
        ("fedadagrad", 5, 100, 25, 1864),
        ("fedyogi", 5, 100, 25, 1967),
        ("fedyogi", 2, 100, 1, 1599),
        ("fedprox", 2, 100, 1, 841),
        ("fedmedian", 5, 50, 25, 676),
        ("fedmedian", 8, 50, 25, 953),
        ("fedmedian", 5, 50, 1, 1510),
        ("fedtrimmedavg", 8, 50, 25, 945),
        ("fedtrimmedavg", 5, 50, 1, 1462),
        ("krum", 5, 50, 25, 1157),
        ("krum", 8, 50, 25, 1711),
        ("krum", 5, 50, 1, 1107),
        ("multikrum", 8, 50, 25, 1505),
        ("bulyan", 5, 50, 25, 2381),
        ("bulyan", 8, 50, 25, 3508),
        ("bulyan", 5, 50, 1, 3370),
        ("bulyan", 8, 50, 1, 5170),
        ("qfedavg", 5, 50, 25, 1241),
        ("qfedavg", 8, 50, 25, 1794),
        ("qfedavg", 5, 50, 1, 1318),
    ],
)
def test_the_estimate_is_what_was_measured_and_little_more(
    strategy: str, nodes: int, size: int, arrays: int, peak: int
) -> None:
    settings = ServerSettings(strategy=strategy)
    needed = memory.estimate(make_layout(size * MB, arrays), nodes, settings)
    assert peak * MB <= needed <= 1.3 * peak * MB


@pytest.mark.parametrize(
    ("mode", "nodes", "arrays", "peak"),
    [
        ("dp-fixed", 2, 25, 782),
        ("dp-fixed", 5, 25, 1255),
        ("dp-fixed", 2, 1, 1699),
        ("dp-adaptive", 2, 25, 779),
    ],
)
def test_the_estimate_counts_the_noise_of_differential_privacy(
    mode: str, nodes: int, arrays: int, peak: int
) -> None:
    needed = memory.estimate(make_layout(100 * MB, arrays), nodes, ServerSettings(dp_mode=mode))
    assert peak * MB <= needed <= 1.3 * peak * MB


@pytest.mark.parametrize(("fraction", "sampled"), [(1.0, 10), (0.5, 5), (0.1, 1), (0.01, 1)])
def test_only_nodes_that_train_in_a_round_count(fraction: float, sampled: int) -> None:
    settings: dict[str, Any] = {"strategy_args": {"fraction_train": fraction}}
    assert strategies.count_sampled(10, ServerSettings(**settings)) == sampled


def run_under(limit: str, size: int, program: str) -> "subprocess.CompletedProcess[str]":
    """Run a program in a process that may use so many bytes of memory."""
    prepared = (
        f"import resource; resource.setrlimit(resource.{limit}, ({size}, {size}))\n"
        "from fedmx import log; log.configure('INFO', 'text')\n"
        "from fedmx.settings import ServerSettings\n"
        "from server import memory\n"
        "from tests.server.test_memory import MB, make_layout\n"
    )
    command = [sys.executable, "-c", prepared + program]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("limit", ["RLIMIT_AS", "RLIMIT_DATA"])
def test_a_process_that_may_use_less_rejects_the_run_with_all_sizes(limit: str) -> None:
    size = 3 * 1024**3
    program = "memory.reject_excess(make_layout(200 * MB), {nodes}, ServerSettings())"
    assert run_under(limit, size, program.format(nodes=6)).returncode == 0
    rejected = run_under(limit, size, program.format(nodes=12))
    line = rejected.stderr.splitlines()[-1]
    assert "SettingsError" in line
    for text in (f"{limit}=3g:", "12 nodes", "200.0 MB", "STRATEGY=fedavg", f"{limit}=4343m"):
        assert text in line


def test_a_round_with_more_updates_than_fit_is_a_warning() -> None:
    program = "memory.warn_of_excess(make_layout(200 * MB), {nodes}, ServerSettings())"
    assert run_under("RLIMIT_AS", 3 * 1024**3, program.format(nodes=6)).stderr == ""
    warned = run_under("RLIMIT_AS", 3 * 1024**3, program.format(nodes=12)).stderr
    assert len(warned.splitlines()) == 1
    for text in ("WARNING", "updates=12", 'model="200.0 MB"', "needed=4343m", "found=3g", "limit=RLIMIT_AS"):
        assert text in warned


def test_without_a_limit_what_the_machine_has_is_a_warning_and_no_error() -> None:
    program = (
        "from fedmx import memory as limits\n"
        "layout = make_layout(limits.find_physical().size)\n"
        "memory.reject_excess(layout, 8, ServerSettings())\n"
        "memory.warn_of_excess(layout, 8, ServerSettings())"
    )
    done = run_under("RLIMIT_CPU", 60, program)
    assert done.returncode == 0, done.stderr
    assert "WARNING" in done.stderr
    assert "limit=MemTotal" in done.stderr


def test_only_in_the_image_a_limit_is_the_compose_files_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "find_limit", lambda: limits.Limit(MB, "memory.max"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match=r"^memory\.max=1m: .* expected memory\.max="):
        memory.reject_excess(make_layout(MB), 2, ServerSettings())
    (tmp_path / "environment.txt").write_text("PATH\n")
    with pytest.raises(SettingsError, match=r"^SERVER_MEMORY=1m: .* expected SERVER_MEMORY="):
        memory.reject_excess(make_layout(MB), 2, ServerSettings())


@pytest.mark.parametrize(
    "head",
    [
        ["0.weight", "float32", [-1], True],
        ["0.weight", "float32", ["a"], True],
        ["0.weight", "no", [1], True],
    ],
)
def test_sizes_that_are_none_are_refused_with_the_description(head: list[Any]) -> None:
    description: dict[str, Any] = {"arrays": [str(head).replace("'", '"').replace("True", "true")]}
    with pytest.raises(ValueError, match="describe itself"):
        Layout.from_description(ConfigRecord({**NullNode().describe(), **description}))


def test_a_layout_knows_its_bytes() -> None:
    node = NullNode(initial={"a": np.zeros((2, 3), np.float32), "b": np.zeros((), np.int64)})
    layout = Layout.from_description(node.describe())
    assert (layout.size, layout.size_of("b")) == (32, 8)


def test_a_node_that_joins_later_and_exceeds_the_memory_is_one_warning(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = Layout.from_description(NullNode().describe())
    monkeypatch.setattr(
        limits, "find_limit", lambda: limits.Limit(memory.estimate(layout, 2, ServerSettings()), "memory.max")
    )
    table = Table([NullNode(), NullNode()], num_partitions=0, partition=PartitionRule("none"))
    table.collect("train", number=1)
    assert caplog.text == ""
    table.grid.nodes[2] = NullNode()
    for number in (2, 3):
        table.collect("train", number=number)
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert "updates=3" in record.getMessage()
