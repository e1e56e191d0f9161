"""Nodes that are away for a while or for good: the others continue, and the log names who was missing."""

import json
import re
import signal
from datetime import datetime, timedelta

import pytest

from tests.federation.chaos.disk import Before
from tests.federation.chaos.killing import Kill, hang_up
from tests.federation.chaos.reference import Plan, Reference
from tests.federation.chaos.stage import Stage

TINY = {"TASK": "tiny_task"}
ENDLESS = 100_000
IN_ROUND_2 = Kill("before", "client.trainer:Trainer.train", call=2)


def test_a_node_that_is_stopped_past_the_timeout_is_missing_and_returns_later(
    stage: Stage,
) -> None:
    server = stage.start_server(
        NUM_PARTITIONS=2, MIN_CLIENTS=2, MIN_UPDATES=1, ROUND_TIMEOUT=4, NUM_ROUNDS=ENDLESS
    )
    stage.start_client(NODE_NAME="north", **TINY)
    south = stage.start_client(NODE_NAME="south", **TINY)
    server.wait_for(r"round finished round=2 rounds=\d+ nodes=2")
    south.process.send_signal(signal.SIGSTOP)
    server.wait_for("no answer round=.* node=local.south")
    server.wait_for(r"round finished round=\d+ rounds=\d+ nodes=1")
    south.process.send_signal(signal.SIGCONT)
    server.wait_for(r"(?s)nodes=1 .*nodes=2")
    assert server.stop() == 143
    names = [sorted(node["name"] for node in line["nodes"]) for line in stage.history]
    found = list(zip(stage.missing, names, strict=True))
    absent = found.index((["local.south"], ["local.north"]))
    assert ([], ["local.north", "local.south"]) in found[:absent]
    assert ([], ["local.north", "local.south"]) in found[absent:]
    assert south.log.count("joined") == 1, "its stream never broke"


def test_a_quorum_goes_on_without_a_node_that_is_stopped_and_it_returns_later(stage: Stage) -> None:
    server = stage.start_server(
        NUM_PARTITIONS=3, MIN_CLIENTS=3, MIN_UPDATES=2, QUORUM=0.6, QUORUM_GRACE=1, NUM_ROUNDS=ENDLESS
    )
    for name in ("north", "west"):
        stage.start_client(NODE_NAME=name, **TINY)
    south = stage.start_client(NODE_NAME="south", **TINY)
    server.wait_for(r"round finished round=2 rounds=\d+ nodes=3")
    south.process.send_signal(signal.SIGSTOP)
    server.wait_for("nodes left out round=.* nodes=local.south .*QUORUM_GRACE=1")
    server.wait_for(r"round finished round=\d+ rounds=\d+ nodes=2")
    south.process.send_signal(signal.SIGCONT)
    server.wait_for(r"(?s)nodes=2 .*nodes=3")
    assert server.stop() == 143
    found = [(line["left_out"], line["missing"], len(line["nodes"])) for line in stage.history]
    partition = stage.facts["nodes"]["local.south"]
    left_out = [{"name": "local.south", "site": "local", "partition": partition}]
    absent = found.index((left_out, [], 2))
    assert ([], [], 3) in found[absent:]
    assert south.log.count("joined") == 1, "its stream never broke"


def test_a_node_that_never_returns_is_missing_once_and_the_others_finish(stage: Stage) -> None:
    server = stage.start_server(NUM_PARTITIONS=3, MIN_CLIENTS=2, NUM_ROUNDS=4, LEASE_GRACE=0.3)
    rest = [stage.start_client(NODE_NAME=name, **TINY) for name in ("north", "south")]
    doomed = stage.start_client(NODE_NAME="doomed", fault=IN_ROUND_2, **TINY)
    assert doomed.wait() == -9
    assert [program.wait() for program in (server, *rest)] == [0, 0, 0], stage.logs
    assert stage.missing == [[], ["local.doomed"], [], []]
    assert [len(line["nodes"]) for line in stage.history] == [3, 2, 2, 2]


def test_while_two_of_three_nodes_are_gone_the_log_names_them_and_the_deadline(
    stage: Stage,
) -> None:
    server = stage.start_server(NUM_PARTITIONS=3, MIN_CLIENTS=3, MIN_UPDATES=1, NUM_ROUNDS=3, LEASE_GRACE=5)
    north = stage.start_client(NODE_NAME="north", **TINY)
    doomed = [stage.start_client(NODE_NAME=name, fault=IN_ROUND_2, **TINY) for name in ("east", "south")]
    assert [program.wait() for program in doomed] == [-9, -9]
    words = r"waiting for replies round=2 step=train answered=\d .* gone=(local\.east,local\.south) .*"
    line = server.wait_for(words)
    since, until = (datetime.fromisoformat(moment) for moment in re.findall(r"(?:since|until)=(\S+)", line))
    assert timedelta(0) <= until - since < timedelta(minutes=1)
    assert "limit=LEASE_GRACE" in line
    assert "MIN_UPDATES" in line
    assert [server.wait(), north.wait()] == [0, 0], stage.logs


def test_a_waiting_node_takes_the_partition_of_one_that_died(stage: Stage) -> None:
    server = stage.start_server(NUM_PARTITIONS=3, MIN_CLIENTS=2, NUM_ROUNDS=4, LEASE_GRACE=0.3)
    doomed = stage.start_client(NODE_NAME="doomed", fault=IN_ROUND_2, **TINY)
    server.wait_for("node ready node=local.doomed")
    others = [stage.start_client(NODE_NAME=name, **TINY) for name in ("east", "north", "south")]
    assert doomed.wait() == -9
    assert [program.wait() for program in (server, *others)] == [0] * 4, stage.logs
    held = [{node["partition"]: node["name"] for node in line["nodes"]} for line in stage.history]
    assert [len(nodes) for nodes in held] == [3, 2, 3, 3]
    assert held[0][0] == "local.doomed"
    assert held[2][0] not in held[0].values(), "the one that waited"
    assert held[2] == held[3]


def test_a_server_ends_after_all_clients_are_killed_and_keeps_its_checkpoints(stage: Stage) -> None:
    server = stage.start_server(NUM_PARTITIONS=2, LEASE_GRACE=0.3, ROUND_TIMEOUT=5, NUM_ROUNDS=4)
    for name in ("north", "south"):
        stage.start_client(NODE_NAME=name, fault=IN_ROUND_2, **TINY)
    assert server.wait() == 4, server.log
    last = server.log.splitlines()[-1]
    assert "round 2 failed 3 times, the last time: 0 updates admitted, 2 needed" in last
    assert (stage.facts["status"], [line["round"] for line in stage.history]) == ("failed", [1])
    assert [path.name for path in (stage.runs_dir / "latest" / "checkpoints").iterdir()] == ["round-0001.npz"]


def test_nodes_with_streams_that_break_at_the_end_are_notified_that_the_run_finished(
    stage: Stage,
) -> None:
    server = stage.start_server(
        fault=Before("server.record.run:RunRecord.finish", hang_up), **Plan().settings
    )
    nodes = [stage.start_client(NODE_NAME=name, **TINY) for name in Plan().names]
    assert [program.wait() for program in (server, *nodes)] == [0, 0, 0], stage.logs
    assert [node.log.count("lost the server") for node in nodes] == [1, 1]


@pytest.mark.slow
def test_a_node_that_dies_at_every_request_does_not_stop_the_others(stage: Stage) -> None:
    server = stage.start_server(NUM_PARTITIONS=3, MIN_CLIENTS=2, NUM_ROUNDS=2, ROUND_TIMEOUT=4, LEASE_GRACE=5)
    rest = [stage.start_client(NODE_NAME=name, **TINY) for name in ("north", "south")]
    asked = Kill("before", "fedmx.link.handler:call_app")
    for _ in range(100):
        if server.process.poll() is not None:
            break
        stage.start_client(NODE_NAME="doomed", fault=asked, SERVER_WAIT_TIMEOUT=1, **TINY).wait()
    assert [program.wait() for program in (server, *rest)] == [0, 0, 0], stage.logs
    assert [sorted(node["name"] for node in line["nodes"]) for line in stage.history] == [
        ["local.north", "local.south"]
    ] * 2


def test_after_a_restart_the_run_still_refuses_nodes_of_another_kind(
    stage: Stage, reference: Reference
) -> None:
    plan = Plan()
    dies = Kill("after", "server.record.run:RunRecord._add_line", call=2)
    server = stage.start_server(fault=dies, **plan.settings)
    nodes = [stage.start_client(NODE_NAME=name, **TINY) for name in plan.names]
    assert server.wait() == -9
    for node in nodes:
        node.process.send_signal(signal.SIGSTOP)
    again = stage.start_server(**plan.settings)
    stray = stage.start_client(NODE_NAME="stray", TASK="wide_task")
    assert stray.wait() == 5
    assert "its task is wide_task, expected tiny_task" in stray.log
    run_id = stage.facts["run_id"]
    for log in (stray.log, again.log):  # at once, and on both sides
        assert re.search(rf"run {run_id}, which is unfinished after round 2: .*RESUME=never", log), log
    first = [line for line in again.log.splitlines() if "resuming a run" in line or "listening" in line]
    assert f"run={run_id} after_round=2 task=tiny_task" in first[0], "before it listens"
    assert "RESUME=never" in first[0]
    for node in nodes:
        node.process.send_signal(signal.SIGCONT)
    assert [program.wait() for program in (again, *nodes)] == [0, 0, 0], stage.logs
    assert stage.facts["model_sha256"] == reference.digest(plan)


def test_two_runs_in_one_folder_are_two_runs(stage: Stage) -> None:
    for number in (1, 2):
        assert stage.run(client_settings=TINY, NUM_ROUNDS=1) == 0, stage.logs
        runs = {path.parent.resolve() for path in stage.runs_dir.glob("*/run.json")}
        assert len(runs) == number


def test_the_run_of_a_killed_server_is_recorded_as_interrupted_when_another_begins(stage: Stage) -> None:
    server = stage.start_server(NUM_PARTITIONS=1, MIN_CLIENTS=1, NUM_ROUNDS=ENDLESS)
    client = stage.start_client(**TINY)
    server.wait_for("round finished round=2 ")
    killed = (stage.runs_dir / "latest").resolve()
    assert stage.facts["status"] == "running"
    server.process.kill()
    server.wait()
    again = stage.start_server(NUM_PARTITIONS=1, MIN_CLIENTS=1, NUM_ROUNDS=1, RESUME="never")
    assert [again.wait(), client.wait()] == [0, 0], stage.logs
    assert json.loads((killed / "run.json").read_text())["status"] == "interrupted"
    assert stage.facts["status"] == "finished"


def test_clients_of_a_server_that_never_returns_exit_with_5(stage: Stage) -> None:
    server = stage.start_server(NUM_PARTITIONS=2, NUM_ROUNDS=ENDLESS)
    nodes = [stage.start_client(NODE_NAME=name, SERVER_WAIT_TIMEOUT=1.5, **TINY) for name in "ab"]
    server.wait_for("round finished round=2 ")
    server.stop(signal.SIGKILL)
    assert [node.wait() for node in nodes] == [5, 5]
    for node in nodes:
        assert f"SERVER_ADDRESS={stage.address}: no server answered within 1.5 s" in node.log
        assert "Traceback" not in node.log


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)],
)
def test_an_interrupted_run_resumes_at_its_next_round(
    number: int, code: int, stage: Stage, reference: Reference
) -> None:
    plan = Plan(rounds=30)
    server = stage.start_server(**plan.settings)
    nodes = [stage.start_client(NODE_NAME=name, **TINY) for name in plan.names]
    server.wait_for("round finished round=3 rounds=30 ")
    assert server.stop(number) == code
    assert stage.facts["status"] == "interrupted"
    done = stage.history[-1]["round"]
    again = stage.start_server(**plan.settings)
    assert [program.wait() for program in (again, *nodes)] == [0, 0, 0], stage.logs
    assert f"run resumed run={stage.facts['run_id']} round={done + 1} " in again.log
    assert [line["round"] for line in stage.history] == list(range(1, 31))
    assert stage.facts["model_sha256"] == reference.digest(plan)
    assert stage.trainings == plan.trainings
