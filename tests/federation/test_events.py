"""The event log of a real federation: who joined, was refused, lost access and left, and when runs ended."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from fedmx.event_log import FILE, read_events
from fedmx.pki.certificates import SERVER
from fedmx.values import Address
from tests.bounds import HANG_S
from tests.federation.chaos.reference import Plan
from tests.federation.chaos.stage import Stage
from tests.federation.programs import ROOT, make_environment
from tests.federation.test_tls import Held, of
from tests.fedmx.pki.papers import SecureRawNode, credentials_of, make_pki, open_authority, own_serial


def list_events(stage: Stage, pki: Path, *arguments: str) -> str:
    """Return what `python -m server events` prints."""
    command = [sys.executable, "-m", "server", "events", *arguments]
    environ = make_environment({"RUNS_DIR": stage.runs_dir, "PKI_DIR": pki})
    done = subprocess.run(
        command, cwd=ROOT, env=environ, capture_output=True, text=True, check=True, timeout=HANG_S
    )
    return done.stdout


def test_joins_refusals_revocations_leaves_and_ends_are_recorded_with_who_and_when(stage: Stage) -> None:
    pki = stage.folder / "pki"
    authority = make_pki(pki, "a", "b", "revoked")
    authority.revoke("revoked")
    serials = {name: own_serial(authority, name) for name in ("a", "b", "revoked")}
    gate = stage.folder / "go on"
    server = stage.start_server(
        NUM_PARTITIONS=2,
        MIN_CLIENTS=2,
        MIN_UPDATES=1,
        NUM_ROUNDS=3,
        LOG_LEVEL="ERROR",
        CERTS_DIR=authority.folder_of(SERVER),
    )
    doomed = stage.start_client(NODE_NAME="x", fault=Held(gate, 2), **of(authority, "a"))
    stays = stage.start_client(NODE_NAME="x", **of(authority, "b"))
    stays.wait_for("own result round=1 ")
    refused = stage.start_client(NODE_NAME="x", **of(authority, "revoked"))
    assert refused.wait() == 5
    open_authority(pki).revoke("a")
    assert [program.wait() for program in (server, stays)] == [0, 0], stage.logs
    gate.touch()
    assert doomed.wait() == 5

    events = [json.loads(line) for line in list_events(stage, pki, "--json").splitlines()]
    assert [event["time"] for event in events] == sorted(event["time"] for event in events)

    def find(name: str, **fields: str) -> dict[str, Any]:
        found: dict[str, Any]
        (found,) = [e for e in events if e["event"] == name and fields.items() <= e.items()]
        return found

    # Certificates, from the authority's own log.
    assert find("authority created")
    for name, serial in serials.items():
        assert find("certificate issued", site=name)["serial"] == serial
    revocations = [event["site"] for event in events if event["event"] == "certificate revoked"]
    assert revocations == ["revoked", "a"]
    # Nodes.
    for name in ("a", "b"):
        joined = find("node joined", site=name)
        assert (joined["node"], joined["serial"]) == (f"{name}.x", serials[name])
        assert re.fullmatch(r"127\.0\.0\.1:\d+", joined["address"])
        assert find("node left", site=name)["time"] > joined["time"]
    for name in ("revoked", "a"):
        assert "revoked" in find("node refused", site=name, serial=serials[name])["reason"]
    # The run.
    started, finished = find("run started"), find("run finished")
    assert started["run"] == finished["run"] == stage.facts["run_id"]
    assert finished["model_sha256"] == stage.facts["model_sha256"]

    table = list_events(stage, pki).splitlines()
    assert len(table) == len(events) + 1
    assert list_events(stage, pki, "--since", "9999-01-01").startswith("no events since ")


def test_a_run_that_is_stopped_and_resumed_is_recorded_as_such(stage: Stage) -> None:
    plan, gate = Plan(rounds=3), stage.folder / "go on"
    server = stage.start_server(**plan.settings)
    nodes = [stage.start_client(NODE_NAME=name, TASK="tiny_task", fault=Held(gate, 2)) for name in plan.names]
    server.wait_for("round finished round=1 ")
    assert server.stop() == 143
    gate.touch()
    assert stage.start_server(**plan.settings).wait() == 0, stage.logs
    assert [node.wait() for node in nodes] == [0, 0], stage.logs
    events = [event["event"] for event in read_events(stage.runs_dir) if event["event"].startswith("run ")]
    assert events == ["run started", "run interrupted", "run resumed", "run finished"]


def test_a_flood_of_refusals_is_bounded_and_counted(stage: Stage) -> None:
    authority = make_pki(stage.folder / "pki", "revoked")
    authority.revoke("revoked")
    server = stage.start_server(CERTS_DIR=authority.folder_of(SERVER))
    server.wait_for("listening")
    for _ in range(50):
        node = SecureRawNode(Address("127.0.0.1", stage.port), credentials_of(authority, "revoked"))
        node.send_hello("east")
        assert "revoked" in node.receive("goodbye").reason
        node.hang_up()
    assert len(read_events(stage.runs_dir)) == 11
    assert (stage.runs_dir / FILE).stat().st_size < 10_000
    server.stop()
    counts = [event for event in read_events(stage.runs_dir) if "times" in event]
    assert [(event["event"], event["times"]) for event in counts] == [("node refused", 40)]


def test_an_event_log_that_cannot_be_written_costs_one_warning_and_no_round(stage: Stage) -> None:
    plan = Plan(rounds=2)
    (stage.runs_dir / FILE).mkdir(parents=True)
    server = stage.start_server(**plan.settings)
    nodes = [stage.start_client(NODE_NAME=name, TASK="tiny_task") for name in plan.names]
    assert [program.wait() for program in (server, *nodes)] == [0, 0, 0], stage.logs
    assert server.log.count("cannot write the event log") == 1
