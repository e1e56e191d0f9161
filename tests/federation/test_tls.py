"""Access by certificate: programs with valid and invalid certificates, and a run that they do not disturb."""

import os
import re
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fedmx.pki.authority import Authority
from fedmx.pki.certificates import SERVER, SITE
from fedmx.protocol import link_pb2 as pb
from fedmx.values import Address
from tests.bounds import HANG_S
from tests.federation.chaos.killing import replace
from tests.federation.chaos.reference import Plan, Reference
from tests.federation.chaos.stage import Stage
from tests.federation.programs import Program
from tests.fedmx.pki.papers import (
    MESSAGES,
    Mistakes,
    SecureRawNode,
    credentials_of,
    make_pki,
    message_of,
    open_authority,
    own_serial,
)

TINY = {"TASK": "tiny_task"}
INSECURE = {"LINK_SECURITY": "insecure"}
WARNING = "WARNING LINK_SECURITY=insecure: anyone who can reach this connection can read it and join"


@dataclass(frozen=True)
class Nobody:
    """A program of a user who may read nothing that is not everybody's."""

    def arm(self) -> None:
        """Have this process be so."""
        if os.getuid() == 0:
            os.setgid(65534)
            os.setuid(65534)


@dataclass(frozen=True)
class Held:
    """A client that begins to train only once a file exists."""

    file: Path
    number: int

    def arm(self) -> None:
        """Have this process be so."""

        def wrap(train: Callable[..., Any]) -> Callable[..., Any]:
            def held(*args: Any) -> Any:
                while args[-1][1] == self.number and not self.file.exists():
                    time.sleep(0.01)
                return train(*args)

            return held

        replace("client.trainer:Trainer.train", wrap)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """One that tests do not change."""
    return make_pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_pki(tmp_path_factory.mktemp("other"))


@pytest.fixture(scope="module")
def mistakes(shared: Authority, other: Authority) -> Iterator[Mistakes]:
    """Files in a folder that all users reach, unlike those that pytest makes."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o711)
        yield Mistakes(shared, other, Path(name))


def of(authority: Authority, site: str) -> Mapping[str, object]:
    """Return the settings of a client of a site."""
    return {**TINY, "CERTS_DIR": authority.folder_of(SITE, site)}


def last_line(program: Program) -> str:
    return program.log.splitlines()[-1]


def words_of(line: str) -> str:
    """Return a line without its time and level."""
    return re.sub(r"^\S+ ERROR +", "", line)


def test_a_program_with_invalid_certificate_files_reports_it_and_neither_dials_nor_listens(
    stage: Stage, mistakes: Mistakes
) -> None:
    programs: dict[tuple[str, str], tuple[Program, Path]] = {}
    for role, start in ((SITE, stage.start_client), (SERVER, stage.start_server)):
        for mistake in MESSAGES:
            folder = mistakes.make(mistake, role)
            runs_dir = folder.with_suffix(".runs")
            runs_dir.mkdir()
            runs_dir.chmod(0o777)
            fault = Nobody() if mistake == "unreadable key" else None
            program = start(**TINY, CERTS_DIR=folder, RUNS_DIR=runs_dir, fault=fault)
            programs[mistake, role] = program, folder
    for (mistake, role), (program, folder) in programs.items():
        assert program.wait() == 2, program.log
        (line,) = program.log.splitlines()
        assert re.fullmatch(message_of(mistake, folder, role), words_of(line)), line


def test_a_run_is_not_disturbed_by_clients_without_access(
    stage: Stage, reference: Reference, other: Authority
) -> None:
    authority = make_pki(stage.folder / "pki", "revoked")
    authority.revoke("revoked")
    plan, gate = Plan(), stage.folder / "go on"
    server = stage.start_server(
        **plan.settings, LISTEN_ADDRESS=f"0.0.0.0:{stage.port}", CERTS_DIR=authority.folder_of(SERVER)
    )
    honest = [
        stage.start_client(NODE_NAME=name, fault=Held(gate, 2), **of(authority, "local"))
        for name in plan.names
    ]
    server.wait_for("round finished round=1 ")
    faulty = {
        "the server uses TLS, but LINK_SECURITY=insecure here": stage.start_client(**TINY, **INSECURE),
        "the server's certificate belongs to another authority": stage.start_client(**of(other, "local")),
        "the server's certificate is not valid for '127.0.0.2'; expected that name in SERVER_NAMES": (
            stage.start_client(**of(authority, "local"), SERVER_ADDRESS=f"127.0.0.2:{stage.port}")
        ),
    }
    revoked = stage.start_client(NODE_NAME="x", **of(authority, "revoked"))
    raw = [
        SecureRawNode(Address("127.0.0.1", stage.port), own, authority=credentials_of(authority).authority)
        for own in (None, credentials_of(authority))
    ]
    for node in raw:
        node.send_hello("east")
    raw[0].expect_end()
    goodbye: pb.Goodbye = raw[1].receive("goodbye")
    role = "the certificate of 'server' has role 'server'; expected a site's certificate (`make bundle`)"
    assert goodbye.reason == role
    for said, program in faulty.items():
        assert program.wait() == 5, program.log
        assert said in last_line(program)
        assert re.match(r"SERVER_ADDRESS=127\.0\.0\.[12]:\d+: TLS: ", words_of(last_line(program)))
        assert "Traceback" not in program.log
    assert revoked.wait() == 5
    reason = f"the certificate of site revoked is revoked (serial {own_serial(authority, 'revoked')})"
    assert words_of(last_line(revoked)) == f"the server refused this node: {reason}"
    gate.touch()
    assert [program.wait() for program in (server, *honest)] == [0, 0, 0], stage.logs
    assert stage.facts["model_sha256"] == reference.digest(plan)
    assert [(line["round"], line["missing"], line["rejected"]) for line in stage.history] == [
        (number, [], []) for number in range(1, plan.rounds + 1)
    ]
    names = {node["name"] for line in stage.history for node in line["nodes"]}
    assert names == {"local.east", "local.north"}
    refusals = re.findall(r"refused a node node=\S+ reason=(.*)", server.log)
    assert sorted(refusals) == sorted([f'"{role}"', f'"{reason}"'])
    assert [program.log.count("joined") for program in honest] == [1, 1], "no stream of theirs broke"


def test_insecure_on_both_sides_works_and_both_warn_at_every_start(stage: Stage, shared: Authority) -> None:
    server = stage.start_server(MIN_CLIENTS=1, JOIN_WINDOW=0.1, **INSECURE)
    server.wait_for("listening")
    secure = stage.start_client(**of(shared, "local"))
    assert secure.wait() == 5
    assert words_of(last_line(secure)) == (
        f"SERVER_ADDRESS={stage.address}: TLS: the server does not use TLS; expected the same LINK_SECURITY"
        " on both sides"
    )
    client = stage.start_client(NODE_NAME="x", **TINY, **INSECURE)
    assert [program.wait() for program in (server, client)] == [0, 0], stage.logs
    assert {node["name"] for line in stage.history for node in line["nodes"]} == {"x"}
    again = stage.start_client(SERVER_WAIT_TIMEOUT=0.2, **TINY, **INSECURE)
    again.wait()
    assert [program.log.count(WARNING) for program in (server, client, again)] == [1, 1, 1]
    assert WARNING not in secure.log


def test_a_server_that_is_killed_repeatedly_is_reported_as_unreachable_not_as_a_tls_problem(
    stage: Stage, reference: Reference
) -> None:
    plan, gate = Plan(), stage.folder / "go on"
    nodes = [stage.start_client(NODE_NAME=name, fault=Held(gate, 2), **TINY) for name in plan.names]
    for seconds in (0.0, 0.01, 0.02, 0.04, 0.08, 0.16, 0.02, 0.04):
        server = stage.start_server(**plan.settings)
        server.wait_for("listening")
        time.sleep(seconds)
        assert server.process.poll() is None
        server.stop(signal.SIGKILL)
    gate.touch()
    assert stage.start_server(**plan.settings).wait() == 0, stage.logs
    assert [node.wait() for node in nodes] == [0, 0], stage.logs
    assert "TLS" not in stage.logs
    assert stage.facts["model_sha256"] == reference.digest(plan)


def test_a_site_revoked_during_a_run_is_disconnected_and_a_waiting_node_takes_its_place(
    stage: Stage,
) -> None:
    authority = make_pki(stage.folder / "pki", "a", "b", "c")
    gate = stage.folder / "go on"
    server = stage.start_server(
        NUM_PARTITIONS=2,
        MIN_CLIENTS=2,
        MIN_UPDATES=1,
        NUM_ROUNDS=4,
        LEASE_GRACE=2 * HANG_S,
        ROUND_TIMEOUT=2 * HANG_S,
        CERTS_DIR=authority.folder_of(SERVER),
    )
    doomed = stage.start_client(NODE_NAME="x", fault=Held(gate, 2), **of(authority, "a"))
    server.wait_for("node ready node=a.x")
    rest = [stage.start_client(NODE_NAME="x", **of(authority, "b"))]
    server.wait_for("node ready node=b.x")
    rest.append(stage.start_client(NODE_NAME="x", **of(authority, "c")))
    server.wait_for("node ready node=c.x")
    server.wait_for("round finished round=1 ")
    authority.revoke("a")
    reason = f"the certificate of site a is revoked (serial {own_serial(authority, 'a')})"
    server.wait_for(re.escape(f'refused a node node=a.x reason="{reason}"'))
    assert [program.wait() for program in (server, *rest)] == [0, 0, 0], stage.logs
    gate.touch()
    assert doomed.wait() == 5
    assert words_of(last_line(doomed)) == f"the server refused this node: {reason}"
    assert stage.missing == [[], ["a.x"], [], []]
    held = [{node["partition"]: node["name"] for node in line["nodes"]} for line in stage.history]
    assert held == [
        {0: "a.x", 1: "b.x"},
        {1: "b.x"},
        {0: "c.x", 1: "b.x"},
        {0: "c.x", 1: "b.x"},
    ]
    again = stage.start_client(NODE_NAME="x", SERVER_WAIT_TIMEOUT=1, **of(authority, "a"))
    assert again.wait() == 5, "there is no server any more"


def test_a_certificate_that_is_reissued_during_a_run_works_for_the_next_client(
    stage: Stage,
) -> None:
    authority = make_pki(stage.folder / "pki", "a")
    gate = stage.folder / "go on"
    server = stage.start_server(
        MIN_CLIENTS=1, JOIN_WINDOW=0.1, LEASE_GRACE=2 * HANG_S, CERTS_DIR=authority.folder_of(SERVER)
    )
    first = stage.start_client(NODE_NAME="x", fault=Held(gate, 1), **of(authority, "a"))
    server.wait_for("run started")
    authority.revoke("a")
    open_authority(authority.folder).issue_site("a")
    second = stage.start_client(NODE_NAME="y", **of(authority, "a"))
    server.wait_for("node ready node=a.y")
    server.wait_for("refused a node node=a.x")
    gate.touch()
    assert [program.wait() for program in (server, second, first)] == [0, 0, 5], stage.logs
