"""The fuzzer itself: it runs, and finds what it should."""

import importlib.util
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fedmx.errors import ProtocolError
from fedmx.protocol.decode import Assembler
from fuzz import frames, seeds, session

ROOT = Path(__file__).parents[3]


@pytest.fixture
def inputs(tmp_path: Path) -> list[bytes]:
    seeds.write_seeds(tmp_path)
    return [path.read_bytes() for path in sorted(tmp_path.iterdir())]


def run_all(run: Callable[[bytes], None], inputs: list[bytes]) -> None:
    for data in inputs:
        run(data)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is not installed")
def test_both_targets_run_and_find_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fuzz", "--seconds", "3"], cwd=ROOT, stdout=subprocess.PIPE, check=True
    )
    names = ("per_second", "counters", "features", "corpus", "peak_rss_mb", "slowest_s")
    figures = r"executions=\d{2,} " + " ".join(rf"{name}=\d+" for name in names)
    for target, line in zip(("frames", "session"), done.stdout.decode().splitlines(), strict=True):
        assert re.fullmatch(f"{target}: {figures}", line)


def test_its_seeds_are_parsed_and_answered(inputs: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    joined = 0
    settled = 0

    def check(of: session._Session) -> None:
        nonlocal joined, settled
        joined += len(of.roster.nodes()) - 1
        settled += sum(request.done.done() for request in of.requests)

    monkeypatch.setattr(session._Session, "check", check)
    for data in inputs:
        frames.run(data)
        session.run(data)
    assert joined > 10
    assert settled > 5


def test_an_unexpected_exception_is_found(inputs: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Assembler, _chunk: bytes) -> None:
        raise KeyError

    monkeypatch.setattr(Assembler, "feed", fail)
    with pytest.raises(KeyError):
        run_all(frames.run, inputs)
    with pytest.raises(AssertionError, match="a bug in serving a stream"):
        run_all(session.run, inputs)


def test_an_unprintable_reason_is_found(inputs: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Assembler, _chunk: bytes) -> None:
        raise ProtocolError("\x1b[2J")

    monkeypatch.setattr(Assembler, "feed", fail)
    with pytest.raises(AssertionError):
        run_all(frames.run, inputs)
