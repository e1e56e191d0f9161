"""Variables that libraries read."""

import os

import pytest

from fedmx.libraries import set_omp_threads


def test_the_number_of_threads_takes_precedence_over_the_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    set_omp_threads(2)
    assert os.environ["OMP_NUM_THREADS"] == "2"


def test_importing_fedmx_turns_off_what_flower_sends_and_asks() -> None:
    import fedmx  # noqa: F401, PLC0415 - the import is what is tested

    assert os.environ["FLWR_TELEMETRY_ENABLED"] == "0"
    assert os.environ["FLWR_DISABLE_UPDATE_CHECK"] == "1"
