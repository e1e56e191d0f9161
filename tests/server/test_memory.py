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
from fedmx.sizes import parse_setting, show_setting
from fedmx.values import PartitionRule
from server import memory, strategies
from server.layout import Layout
from tests.server.local_grid import Table
from tests.server.nodes import NullNode

MB = 1_000_000


def make_layout(size: int, arrays: int = 25) -> Layout:
    shape = (size // 4 // arrays,)
    loss = frozenset(["loss"])
    return Layout({f"{i}.weight": ("float32", shape) for i in range(arrays)}, frozenset(), loss, loss)


def test_frozen_arrays_need_memory_once_and_not_for_every_update() -> None:
    layout = make_layout(100 * MB)
    half = replace(layout, frozen=frozenset(list(layout.arrays)[:12]))
    settings = ServerSettings(strategy="krum")
    whole, saved = (
        [memory.estimate(each, updates, settings) for updates in (10, 20)] for each in (layout, half)
    )
    assert (saved[1] - saved[0]) / (whole[1] - whole[0]) == pytest.approx(13 / 25, rel=0.05)


@pytest.mark.parametrize("strategy", ["fedavg", "fedprox", "fedavgm", "fedadam", "fedmedian", "qfedavg"])
def test_beyond_the_budget_a_node_needs_a_few_megabytes(strategy: str) -> None:
    settings = ServerSettings(strategy=strategy, update_memory=200 * MB)
    few, many = (memory.estimate(make_layout(100 * MB), updates, settings) for updates in (5, 105))
    assert many - few <= 100 * 8 * MB


@pytest.mark.parametrize(("nodes", "size"), [(13, 100), (8, 200)])
def test_the_defaults_of_containers_have_room_for_large_models(
    nodes: int, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "find_limit", lambda: limits.Limit(2 * 1024**3, "memory.max"))
    memory.reject_excess(make_layout(size * MB), nodes, ServerSettings())


# Peaks of whole server processes in MB, measured over three rounds with nodes that change every array of a
# model of 100 MB, on a busy machine, where more is on its way at a time.
@pytest.mark.parametrize(
    ("strategy", "nodes", "budget", "peak"),
    [
        ("fedavg", 2, "200m", 506),
        ("fedavg", 5, "200m", 530),
        ("fedavg", 8, "6g", 1141),
        ("fedavg", 13, "512m", 887),
        ("fedavgm", 2, "200m", 730),
        ("fedavgm", 5, "200m", 752),
        ("fedadam", 2, "200m", 972),
        ("fedadam", 5, "200m", 1003),
        ("fedyogi", 5, "200m", 961),
        ("fedmedian", 5, "200m", 540),
        ("fedtrimmedavg", 8, "200m", 554),
        ("krum", 5, "200m", 1632),
        ("qfedavg", 5, "200m", 1167),
    ],
)
def test_the_estimate_is_what_was_measured_and_little_more(
    strategy: str, nodes: int, budget: str, peak: int
) -> None:
    settings = ServerSettings(strategy=strategy, update_memory=parse_setting(budget))
    needed = memory.estimate(make_layout(100 * MB), nodes, settings)
    assert peak * MB <= needed <= 1.3 * peak * MB


def test_the_estimate_counts_the_clipping_and_the_noise_of_differential_privacy() -> None:
    settings = ServerSettings(dp_mode="dp-fixed", update_memory=parse_setting("200m"))
    assert 621 * MB <= memory.estimate(make_layout(100 * MB), 5, settings) <= 1.3 * 621 * MB


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


KRUM = "ServerSettings(strategy='krum', update_memory=500 * MB)"


def show_needed(nodes: int) -> str:
    settings = ServerSettings(strategy="krum", update_memory=500 * MB)
    return show_setting(memory.estimate(make_layout(200 * MB), nodes, settings))


@pytest.mark.parametrize("limit", ["RLIMIT_AS", "RLIMIT_DATA"])
def test_a_process_that_may_use_less_rejects_the_run_with_all_sizes(limit: str) -> None:
    size = 3 * 1024**3
    program = f"memory.reject_excess(make_layout(200 * MB), {{nodes}}, {KRUM})"
    assert run_under(limit, size, program.format(nodes=4)).returncode == 0
    rejected = run_under(limit, size, program.format(nodes=12))
    line = rejected.stderr.splitlines()[-1]
    assert "SettingsError" in line
    for text in (f"{limit}=3g:", "12 nodes", "200.0 MB", "STRATEGY=krum", f"{limit}={show_needed(12)}"):
        assert text in line


@pytest.mark.parametrize(("nodes", "size"), [(2, 64), (40, 100), (3, 1000)])
def test_the_limit_that_an_error_asks_for_is_enough(
    nodes: int, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = make_layout(size * MB)
    monkeypatch.setattr(limits, "find_limit", lambda: limits.Limit(300 * MB, "memory.max"))
    with pytest.raises(SettingsError) as caught:
        memory.reject_excess(layout, nodes, ServerSettings())
    asked = parse_setting(str(caught.value).partition("expected memory.max=")[2].partition(" ")[0])
    monkeypatch.setattr(limits, "find_limit", lambda: limits.Limit(asked, "memory.max"))
    memory.reject_excess(layout, nodes, ServerSettings())
    monkeypatch.setattr(limits, "find_limit", lambda: limits.Limit(asked - 4 * MB, "memory.max"))
    with pytest.raises(SettingsError):
        memory.reject_excess(layout, nodes, ServerSettings())


def test_a_round_with_more_updates_than_fit_is_a_warning() -> None:
    program = f"memory.warn_of_excess(make_layout(200 * MB), {{nodes}}, {KRUM})"
    assert run_under("RLIMIT_AS", 3 * 1024**3, program.format(nodes=4)).stderr == ""
    warned = run_under("RLIMIT_AS", 3 * 1024**3, program.format(nodes=12)).stderr
    assert len(warned.splitlines()) == 1
    needed = f"needed={show_needed(12)}"
    for text in ("WARNING", "updates=12", 'model="200.0 MB"', needed, "found=3g", "limit=RLIMIT_AS"):
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
    needed = memory.estimate(layout, 2, ServerSettings(update_memory=2**40))
    monkeypatch.setattr(limits, "find_limit", lambda: limits.Limit(needed, "memory.max"))
    table = Table([NullNode(), NullNode()], num_partitions=0, partition=PartitionRule("none"))
    table.collect("train", number=1)
    assert caplog.text == ""
    table.grid.nodes[2] = NullNode()
    for number in (2, 3):
        table.collect("train", number=number)
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert "updates=3" in record.getMessage()
