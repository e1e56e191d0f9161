"""Notifies people or programs that a run has ended: ON_END_COMMAND and ON_END_WEBHOOK.

Both receive one JSON object when the run has finished, failed or was interrupted. A server that is killed
sends nothing, and neither does the next one for it: a resumed run has not ended.
"""

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from fedmx.files import read_regular
from fedmx.log import event, warn
from fedmx.settings import environment
from server.record.history import HistoryTail
from server.report import Opening, Outcome
from server.reporting.reporter import Reporter
from server.trackers.http_client import Call, RequestError, WebAddress, send

_LAST_LINES, _LAST_BYTES = 20, 10_000
_BATCH = 100
_VARIABLES = {"FEDMX_OUTCOME": "outcome", "FEDMX_REASON": "reason", "FEDMX_RUN_ID": "run_id"}


@dataclass(frozen=True)
class Limits:
    """How often and how long notifications are tried.

    Attributes:
        tries: how often the webhook is called until it succeeds.
        try_s: how long each of them may take.
        back_off_s: the wait before the second try; that before the third is four times as long.
        command_s: how long the command may take.
    """

    tries: int = 3
    try_s: float = 10.0
    back_off_s: float = 1.0
    command_s: float = 60.0


# After a signal, the program has to end within seconds.
_IF_STOPPED = Limits(tries=1, try_s=1.5, command_s=1.5)


class OnEnd(Reporter):
    """Runs a command and calls a webhook when a run has ended, both at the same time.

    Args:
        command: run by `sh`; empty for none.
        webhook: its URL; empty for none.
        limits: those that apply unless a signal ends the program.
    """

    def __init__(self, command: str, webhook: str, limits: Limits | None = None) -> None:
        self._command = command
        self._webhook = WebAddress.parse(webhook) if webhook else None
        self._limits = limits or Limits()
        self._opening: Opening | None = None
        # The webhook's tries take less time than the command may.
        self.patience_s = self._limits.command_s + 5.0

    def on_open(self, opening: Opening) -> None:
        """Remember the run."""
        self._opening = opening

    def on_end(self, outcome: Outcome) -> None:
        """Start the command, call the webhook, and wait for the command."""
        limits = _IF_STOPPED if outcome.status == "interrupted" else self._limits
        message = describe(self._opening, outcome)
        deadline = time.monotonic() + limits.command_s
        with ExitStack() as stack:
            command = self._start(message, stack)
            if self._webhook is not None:
                _post(self._webhook, message, limits)
            if command is not None:
                command.finish(deadline)

    def _start(self, message: Mapping[str, Any], stack: ExitStack) -> "_Command | None":
        if not self._command:
            return None
        try:
            return _Command(self._command, message, stack.enter_context(tempfile.TemporaryFile()))
        # A command that cannot be started must not prevent the webhook.
        except OSError as error:
            warn("command failed", setting="ON_END_COMMAND", reason=error)
            return None


def describe(opening: Opening | None, outcome: Outcome) -> dict[str, Any]:
    """Return the JSON object to send.

    Args:
        opening: the run; None if it ended before it opened.
        outcome: how it ended.
    """
    settings = opening.settings if opening else {}
    facts = _read_facts(opening.folder) if opening else {}
    message = {
        "outcome": outcome.status,
        "reason": outcome.reason or outcome.stopped,
        "exit_code": 0 if outcome.status == "finished" else outcome.exit_code,
        "run_id": opening.run_id if opening else None,
        "name": settings.get("RUN_NAME", ""),
        "tags": [tag for tag in str(settings.get("RUN_TAGS", "")).split(",") if tag],
        "started": facts.get("started"),
        "finished": facts.get("finished"),
        "rounds": facts.get("rounds", 0),
        "best": facts.get("best"),
        "model_sha256": outcome.model_sha256,
        "model": None if outcome.model is None else str(outcome.model.absolute()),
    }
    return {"text": _as_sentence(message), **message}


def _as_sentence(message: Mapping[str, Any]) -> str:
    """Return the message as a sentence, for the field `text`, which chat programs show."""
    run = message["name"] or message["run_id"] or "a run"
    number = message["rounds"]
    text = f"fedmx: {run} {message['outcome']} after {number} {'round' if number == 1 else 'rounds'}"
    if message["reason"]:
        text += f": {message['reason']}"
    if best := message["best"]:
        text += f"; best {best['metric']} {best['value']:.4g} in round {best['round']}"
    return text


def _read_facts(folder: Path) -> dict[str, Any]:
    """Return the content of `run.json`, with all metrics of the best round.

    What cannot be read is left out: a failing disk may be the very reason of the message.
    """
    facts: dict[str, Any] = {}
    with suppress(OSError, ValueError):
        facts = json.loads(read_regular(folder / "run.json"))
        if best := facts.get("best"):
            facts["best"] = {**best, "metrics": _read_metrics(folder, best["round"])}
    return facts


def _read_metrics(folder: Path, number: int) -> Mapping[str, float]:
    """Return the metrics of a round's evaluation."""
    tail = HistoryTail(folder)
    while lines := tail.read(_BATCH):
        tail.mark_done()
        for line in lines:
            if line["round"] == number:
                metrics: Mapping[str, float] = (line.get("evaluate") or {}).get("metrics", {})
                return metrics
    return {}


def _post(address: WebAddress, message: Mapping[str, Any], limits: Limits) -> None:
    """Post the message, and log a WARNING if no try succeeds."""
    call = Call("POST", body=json.dumps(message).encode(), headers={"Content-Type": "application/json"})
    reason = ""
    for number in range(limits.tries):
        time.sleep(limits.back_off_s * number**2)
        try:
            send(address, call, limits.try_s)
        except RequestError as error:
            reason = str(error)
        else:
            event("webhook called", setting="ON_END_WEBHOOK")
            return
    warn("webhook failed", setting="ON_END_WEBHOOK", tries=limits.tries, reason=reason)


class _Command:
    """A running command.

    Its input and output are files: a pipe would have to be read while the webhook is called, and would stay
    open as long as any process that the command leaves behind.

    Args:
        command: run by `sh`, in a session of its own: its children can be killed with it.
        message: its input, in JSON.
        output: receives what it writes.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(self, command: str, message: Mapping[str, Any], output: IO[bytes]) -> None:
        self._output = output
        variables = {name: str(message[key] or "") for name, key in _VARIABLES.items()}
        with tempfile.TemporaryFile() as content:
            content.write(json.dumps(message).encode())
            content.seek(0)
            self._process = subprocess.Popen(
                ["sh", "-c", command],
                stdin=content,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**environment(), **variables},
                start_new_session=True,
            )

    def finish(self, deadline: float) -> None:
        """Wait until it ends or is killed, and log its output, with a WARNING if it failed."""
        try:
            code = self._process.wait(max(0.0, deadline - time.monotonic()))
            reason = f"exit code {code}" if code else ""
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            reason = "it took too long"
        for line in self._read_last_lines():
            event("output of the command", setting="ON_END_COMMAND", line=line)
        if reason:
            warn("command failed", setting="ON_END_COMMAND", reason=reason)
        else:
            event("command finished", setting="ON_END_COMMAND")

    def _read_last_lines(self) -> list[str]:
        size = self._output.seek(0, os.SEEK_END)
        self._output.seek(max(0, size - _LAST_BYTES))
        return self._output.read().decode(errors="replace").splitlines()[-_LAST_LINES:]
