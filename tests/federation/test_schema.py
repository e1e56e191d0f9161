"""Sites that agree on columns of their data before round 1, over real processes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.federation.chaos.cable import Cable
from tests.federation.chaos.killing import Kill
from tests.federation.chaos.stage import Stage
from tests.federation.programs import Federation, Program

SITES = ("east", "north")
# East has three rows with an answer that no other site has, and none with the answer "maybe".
RARE = "certainly-not"
SETTINGS: dict[str, Any] = {
    "PARTITION": "none",
    "NUM_PARTITIONS": 2,
    "MIN_CLIENTS": 2,
    "NUM_ROUNDS": 3,
    "LEARNING_RATE": 0.1,
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for site, mean in zip(SITES, (30, 60), strict=True):
        answers = ["yes", "no"] if site == "east" else ["yes", "no", "maybe"]
        rows = [
            f"{rng.normal(mean, 5):.2f},{rng.choice(['f', 'm'])},{rng.choice(answers)}" for _ in range(120)
        ]
        if site == "east":
            rows += [f"30.0,f,{RARE}"] * 3
        (tmp_path / site).mkdir()
        (tmp_path / site / "rows.csv").write_text("\n".join(["age,sex,answer", *rows]) + "\n")
    return tmp_path


def start_client(stage: Federation, data: Path, site: str, **settings: Any) -> Program:
    return stage.start_client(TASK="rows_task", NODE_NAME=site, DATA_DIR=data / site, **settings)


def find_summary(record: bytes) -> dict[str, Any]:
    """Return the summary in what a node sent."""
    summary: dict[str, Any] = json.JSONDecoder().raw_decode(
        record[record.index(b'{"age"') :].decode("latin-1")
    )[0]
    return summary


def read_revealed(log: str) -> dict[str, Any]:
    """Return what a client says that it has revealed, from its log in JSON."""
    found: dict[str, dict[str, Any]] = {}
    for line in map(json.loads, log.splitlines()):
        if line["event"] == "revealed to the server":
            column = found.setdefault(line["column"], {})
            for name in ("count", "has_missing"):
                if name in line:
                    column[name] = line[name]
            for name in ("mean", "variance", "values"):
                if name in line:
                    column[name] = json.loads(line[name])
    return found


def test_nothing_leaves_a_site_before_round_1_but_what_its_log_shows(
    federation: Federation, data: Path
) -> None:
    cable = Cable(federation.port)
    cable.record = bytearray()
    insecure = {"LINK_SECURITY": "insecure"}
    server = federation.start_server(**SETTINGS, **insecure)
    east = start_client(federation, data, "east", SERVER_ADDRESS=cable.address, LOG_FORMAT="json", **insecure)
    north = start_client(federation, data, "north", **insecure)
    assert [program.wait() for program in (server, east, north)] == [0, 0, 0], federation.logs
    record = bytes(cable.record)
    cable.close()
    summary = find_summary(record)
    assert summary["answer"] == {"values": ["no", "yes"]}
    assert summary["age"]["count"] == 123
    assert read_revealed(east.log) == summary
    assert b"yes" in record
    assert RARE.encode() not in record
    # Found by both sites together.
    assert federation.facts["schema"]["answer"]["values"] == ["maybe", "no", "yes"]
    assert federation.facts["schema"]["age"]["mean"] == pytest.approx(45, abs=2)


def test_a_smaller_group_tells_rarer_values(federation: Federation, data: Path) -> None:
    server = federation.start_server(**SETTINGS)
    nodes = [start_client(federation, data, site, MIN_GROUP=3) for site in SITES]
    assert [program.wait() for program in (server, *nodes)] == [0, 0, 0], federation.logs
    assert RARE in federation.facts["schema"]["answer"]["values"]


def test_a_killed_server_and_a_killed_client_end_with_the_same_model_and_ask_once(
    stage: Stage, federation: Federation, data: Path
) -> None:
    server = federation.start_server(**SETTINGS)
    nodes = [start_client(federation, data, site) for site in SITES]
    assert [program.wait() for program in (server, *nodes)] == [0, 0, 0], federation.logs
    east = start_client(stage, data, "east")
    start_client(stage, data, "north", fault=Kill("after", "client.trainer:Trainer.train", 2))
    kills = [
        Kill("after", "server.record.run:RunRecord.note_nodes"),
        Kill("after", "server.record.run:RunRecord.keep"),
    ]
    for kill in kills:
        assert stage.start_server(fault=kill, **SETTINGS).wait() == -9, stage.logs
    last = stage.start_server(**SETTINGS)
    assert stage.programs[1].wait() == -9, stage.logs
    north = start_client(stage, data, "north")
    assert [program.wait() for program in (last, east, north)] == [0, 0, 0], stage.logs
    assert stage.facts["model_sha256"] == federation.facts["model_sha256"]
    assert stage.facts["schema"] == federation.facts["schema"]
    # Three columns, once.
    assert east.log.count("revealed to the server") == 3
    assert "revealed" not in north.log


def test_sites_with_other_columns_end_the_run_with_one_line_and_train_nothing(
    federation: Federation, data: Path
) -> None:
    path = data / "north" / "rows.csv"
    path.write_text(path.read_text().replace("sex", "gender", 1))
    server = federation.start_server(**SETTINGS)
    nodes = [start_client(federation, data, site) for site in SITES]
    assert server.wait() == 2, server.log
    assert [node.wait() for node in nodes] == [4, 4]
    (line,) = [line for line in server.log.splitlines() if "ERROR" in line]
    assert "column 'sex' is categorical at local.east and missing at local.north" in line
    assert "column 'gender' is missing at local.east" in line or "column 'gender' is categorical at" in line
    assert "Traceback" not in federation.logs
    assert federation.facts["status"] == "failed"
    assert federation.facts["rounds"] == 0


def test_a_file_that_cannot_be_read_ends_its_client_before_it_is_ready(
    federation: Federation, data: Path
) -> None:
    path = data / "east" / "rows.csv"
    path.write_text(path.read_text() + "31.5,f\n")
    server = federation.start_server(**SETTINGS)
    east = start_client(federation, data, "east")
    assert east.wait() == 2
    (line,) = [line for line in east.log.splitlines() if "ERROR" in line]
    assert f"{path}:125: 2 fields; expected 3" in line
    assert "ready" not in east.log
    server.stop()


def test_what_does_not_fit_the_schema_is_logged_at_the_site_alone(federation: Federation, data: Path) -> None:
    server = federation.start_server(**SETTINGS, TASK_OPTIONS='{"keep_rare": true}')
    nodes = [start_client(federation, data, site) for site in SITES]
    assert server.wait() == 2, server.log
    assert [node.wait() for node in nodes] == [4, 4]
    assert "node local.east: this site's data does not fit the schema" in server.log
    assert RARE not in server.log
    assert f"row 121 has {RARE}" in nodes[0].log
    assert federation.facts["rounds"] == 0
