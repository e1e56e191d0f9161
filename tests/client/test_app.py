"""The ClientApp on Flower's engines: what a site gets wrong is the reason of its reply."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from flwr.app import ConfigRecord, Context, Message, RecordDict

from client.app import app
from client.settings import load_settings
from fedmx.errors import SettingsError
from fedmx.link.flower import ERROR_CODE_BASE, Envelope, rebuild_request, set_identity
from fedmx.log import logger
from fedmx.settings import environment

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("TASK", "tests.client.given.clusters")
    load_settings.cache_clear()
    before = logger.handlers[:], logger.level, logger.propagate
    yield
    load_settings.cache_clear()
    logger.handlers[:], logger.level, logger.propagate = before


def ask(kind: str, **config: int | str) -> Message:
    set_identity(run_id=1, node_id=7)
    request = rebuild_request(Envelope(1, kind, "3", 7), RecordDict({"config": ConfigRecord({**config})}))
    return app(request, Context(1, 7, node_config={}, state=RecordDict(), run_config={"num-rounds": 3}))


def test_importing_the_app_imports_neither_mxnet_nor_settings() -> None:
    script = "import sys, client.app; print({'mxnet', 'client.settings', 'client.messages'} & {*sys.modules})"
    environ = environment() | {"DEVICE": "tpu"}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_invalid_settings_are_the_reason_of_the_reply_and_one_line_of_the_log(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DEVICE", "tpu")
    reply = ask("train")
    assert reply.error.code == ERROR_CODE_BASE + SettingsError.exit_code
    assert str(reply.error.reason).startswith("DEVICE='tpu':")
    (line,) = capsys.readouterr().err.splitlines()
    assert all(part in line for part in ("request failed", "round=3", "step=train", "DEVICE='tpu'"))


def test_a_wrong_message_is_the_reason_of_the_reply() -> None:
    assert "partition-rule" in str(ask("query").error.reason)


def test_other_packages_than_the_apps_are_the_reason_of_the_reply(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedmx.flower_app.metadata.version", {"flwr": "1.43.0"}.__getitem__)
    reason = str(ask("evaluate").error.reason)
    assert reason.startswith("flwr 1.43.0 is installed")


def test_an_exception_is_left_to_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Message) -> Message:
        raise ZeroDivisionError

    monkeypatch.setattr("client.messages.train", fail)
    with pytest.raises(ZeroDivisionError):
        ask("train")
