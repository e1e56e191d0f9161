"""Who is notified that a run has ended, by a command and by a webhook."""

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from fedmx.errors import TrainingFailedError
from server.report import Outcome
from server.trackers.on_end import Limits, OnEnd, describe
from tests.bounds import HANG_S
from tests.server.federation import Federation
from tests.server.nodes import GOOD, Config, Metrics, NullNode, Values, shift
from tests.web import hanging_server, recording_server

QUICK = Limits(tries=3, try_s=HANG_S, back_off_s=0.0, command_s=HANG_S)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Raise the limits, which a busy machine would exceed."""
    monkeypatch.setattr("server.trackers.on_end.Limits", lambda: QUICK)


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> pytest.LogCaptureFixture:
    monkeypatch.setattr("fedmx.log.logger.propagate", True)
    caplog.set_level("INFO", "fedmx")
    return caplog


def fail(_: Values, __: Config) -> tuple[Values, Metrics]:
    raise ZeroDivisionError("the columns do not fit")


def list_warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.levelname == "WARNING"]


def wait_until_gone(pid: int) -> None:
    """Wait for the end of a process, which is a zombie until the machine's first process has seen it."""
    deadline = time.monotonic() + HANG_S
    while (state := read_state(pid)) not in ("", "Z"):
        assert time.monotonic() < deadline, state
        time.sleep(0.01)


def read_state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def test_a_finished_run_is_posted_with_its_best_metrics_and_its_model(federation: Federation) -> None:
    with recording_server() as web:
        nodes = {"a": NullNode(shift(1.0), evaluate=lambda *_: GOOD | {"loss": 0.25})}
        names = {"run_name": "second try", "run_tags": ("mnist", "baseline")}
        federation.run(nodes, num_rounds=2, on_end_webhook=f"{web.url}/hooks/secret", **names)
    [request] = web.received
    facts = federation.facts
    assert (request.method, request.path) == ("POST", "/hooks/secret")
    assert request.headers["content-type"] == "application/json"
    message = request.json
    assert message.pop("text") == "fedmx: second try finished after 2 rounds; best loss 0.25 in round 1"
    assert message == {
        "outcome": "finished",
        "reason": None,
        "exit_code": 0,
        "run_id": facts["run_id"],
        "name": "second try",
        "tags": ["mnist", "baseline"],
        "started": facts["started"],
        "finished": facts["finished"],
        "rounds": 2,
        "best": {"round": 1, "metric": "loss", "value": 0.25, "metrics": {"loss": 0.25, "accuracy": 0.75}},
        "model_sha256": facts["model_sha256"],
        "model": str((federation.runs_dir / facts["run_id"] / "model.npz").absolute()),
    }


def test_a_failed_run_is_posted_with_its_reason_and_exit_code(federation: Federation) -> None:
    with recording_server() as web, pytest.raises(TrainingFailedError) as caught:
        federation.run({"a": NullNode(fail)}, on_end_webhook=web.url)
    [request] = web.received
    assert request.json["outcome"] == "failed"
    assert request.json["reason"] == str(caught.value)
    assert (request.json["exit_code"], request.json["rounds"], request.json["best"]) == (4, 0, None)


def test_a_command_receives_the_message_and_its_output_is_logged(
    federation: Federation, tmp_path: Path, warnings: pytest.LogCaptureFixture
) -> None:
    command = (
        f"cat > {tmp_path}/message.json; echo \"$FEDMX_OUTCOME $FEDMX_RUN_ID\"; echo 'and a problem' >&2"
    )
    federation.run({"a": NullNode()}, on_end_command=command)
    message = json.loads((tmp_path / "message.json").read_text())
    assert message["run_id"] == federation.facts["run_id"]
    output = [line for line in warnings.messages if line.startswith("output of the command")]
    assert any(f"finished {federation.facts['run_id']}" in line for line in output)
    assert any("and a problem" in line for line in output)
    assert list_warnings(warnings) == []


def test_both_are_notified_though_one_of_them_fails(
    tmp_path: Path, warnings: pytest.LogCaptureFixture
) -> None:
    with recording_server(500, 500, 500) as web:
        OnEnd(f"touch {tmp_path}/ran; exit 3", web.url, QUICK).on_end(Outcome("finished"))
    assert (tmp_path / "ran").exists()
    assert len(web.received) == 3
    [webhook, command] = list_warnings(warnings)
    assert "HTTP 500" in webhook
    assert "exit code 3" in command


def test_a_webhook_is_tried_three_times_and_succeeds_with_any_of_them(
    warnings: pytest.LogCaptureFixture,
) -> None:
    with recording_server(503, 404, 204) as web:
        OnEnd("", web.url, QUICK).on_end(Outcome("finished"))
    assert [request.json["outcome"] for request in web.received] == ["finished"] * 3
    assert list_warnings(warnings) == []


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(status: int, warnings: pytest.LogCaptureFixture) -> None:
    with recording_server(*[status] * 3) as web, recording_server() as other:
        web.location = f"{other.url}/elsewhere"
        OnEnd("", web.url, QUICK).on_end(Outcome("finished"))
    assert (len(web.received), other.received) == (3, [])
    [warning] = list_warnings(warnings)
    assert f"HTTP {status}" in warning


def test_what_is_secret_in_the_address_is_sent_and_never_logged(warnings: pytest.LogCaptureFixture) -> None:
    with recording_server(*[500] * 3) as web:
        address = web.url.replace("//", "//me:pass%20word@") + "/hooks/T0KEN?key=K3Y"
        OnEnd("", address, QUICK).on_end(Outcome("failed", reason="no nodes"))
    request = web.received[0]
    assert (request.path, request.headers["authorization"]) == (
        "/hooks/T0KEN?key=K3Y",
        "Basic bWU6cGFzcyB3b3Jk",
    )
    [warning] = list_warnings(warnings)
    assert web.url in warning
    assert not any(secret in warnings.text for secret in ("T0KEN", "K3Y", "pass", "me:"))


def test_a_webhook_that_never_answers_is_one_warning(warnings: pytest.LogCaptureFixture) -> None:
    with hanging_server() as url:
        OnEnd("", url, Limits(tries=3, try_s=0.05, back_off_s=0.0)).on_end(Outcome("finished"))
    [warning] = list_warnings(warnings)
    assert "no answer within" in warning


def test_a_webhook_where_nothing_listens_is_one_warning(warnings: pytest.LogCaptureFixture) -> None:
    with recording_server() as web:
        pass
    OnEnd("", web.url, QUICK).on_end(Outcome("finished"))
    [warning] = list_warnings(warnings)
    assert "refused" in warning


def test_a_command_that_takes_too_long_is_killed_with_its_children(
    tmp_path: Path, warnings: pytest.LogCaptureFixture
) -> None:
    command = f"sleep 1000 & echo $! > {tmp_path}/child; wait"
    OnEnd(command, "", Limits(command_s=1.0)).on_end(Outcome("finished"))
    [warning] = list_warnings(warnings)
    assert "took too long" in warning
    wait_until_gone(int((tmp_path / "child").read_text()))


def test_a_process_that_a_command_leaves_behind_does_not_delay_the_end(
    tmp_path: Path, warnings: pytest.LogCaptureFixture
) -> None:
    command = f"sleep {10 * HANG_S} & echo $! > {tmp_path}/child"
    OnEnd(command, "", Limits(command_s=5 * HANG_S)).on_end(Outcome("finished"))
    child = int((tmp_path / "child").read_text())
    assert read_state(child) not in ("", "Z")
    os.kill(child, signal.SIGKILL)
    assert list_warnings(warnings) == []


def test_a_disk_that_fails_does_not_keep_the_message_back(tmp_path: Path) -> None:
    class Opening:
        run_id = "20260101-000000"
        folder = tmp_path / "gone"
        settings: dict[str, Any] = {"RUN_NAME": "x"}  # noqa: RUF012

    message = describe(Opening(), Outcome("failed", reason="no space", exit_code=4))  # type: ignore[arg-type]
    assert (message["run_id"], message["reason"], message["started"]) == ("20260101-000000", "no space", None)


def test_an_interrupted_run_has_one_try() -> None:
    with recording_server(500) as web:
        OnEnd("", web.url, QUICK).on_end(Outcome("interrupted"))
    assert [request.json["outcome"] for request in web.received] == ["interrupted"]
