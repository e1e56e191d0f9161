"""Sites on separate networks: bundles that `make` created, unpacked elsewhere and started."""

import json
import os
import re
import stat
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedmx import __version__
from tests.compose.sites import USER, Federation, make_request
from tests.compose.stack import PATIENCE_S, Stack, name_image
from tests.pages import find_code

pytestmark = [
    pytest.mark.compose,
    pytest.mark.skipif(os.getuid() != 0, reason="unpacks as another user, which root alone can"),
]

FILES = {
    "docker-compose.yml",
    "README.md",
    "certs/.gitignore",
    "certs/authority.crt",
    "certs/site.crt",
    "certs/site.key",
}
EVENTS = ("events", "FROM=containers", "ARGS=--json")


@pytest.fixture(scope="module")
def federation(images: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    """Sites a and c with keys from the server, c revoked by now, and site b with a key of its own."""
    made = Federation(tmp_path_factory.mktemp("federation"))
    try:
        made.make_or_fail("pki-server", f"SERVER_NAMES={made.host}")
        for site in ("hospital-a", "hospital-c"):
            made.bundle(site)
            made.unpack(site)
        make_request(made.folder / "kept", "hospital-b")
        made.bundle("hospital-b", "REQUEST=kept/hospital-b.csr")
        (made.folder / "kept" / "site.key").rename(made.unpack("hospital-b").root / "certs" / "site.key")
        made.make_or_fail("pki-revoke", "NAME=hospital-c")
        yield made
    finally:
        made.end()


def test_an_archive_is_private_and_contains_one_site_alone(federation: Federation) -> None:
    path = federation.folder / "hospital-a.tar.gz"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with tarfile.open(path) as archive:
        modes = {member.name: member.mode for member in archive.getmembers()}
    assert set(modes) == {f"hospital-a/{name}" for name in FILES}
    assert {name for name, mode in modes.items() if mode != 0o644} == {"hospital-a/certs/site.key"}
    assert modes["hospital-a/certs/site.key"] == 0o600
    one, other = (federation.sites[name].root for name in ("hospital-a", "hospital-c"))
    content = "".join(path.read_text() for path in one.rglob("*") if path.is_file())
    assert not re.search(r"hospital-[bc]", content)
    for name in ("site.crt", "site.key"):
        assert (other / "certs" / name).read_text() not in content
    with tarfile.open(federation.folder / "hospital-b.tar.gz") as archive:
        assert set(archive.getnames()) == {f"hospital-b/{name}" for name in FILES - {"certs/site.key"}}
    assert not list(federation.folder.glob(".bundle*"))


def test_make_bundle_reports_whether_the_archive_contains_a_key(federation: Federation) -> None:
    messages = federation.messages
    assert "hospital-a.tar.gz" in messages["hospital-a"]
    assert "contains the private key" in messages["hospital-a"]
    assert "hospital-b.tar.gz" in messages["hospital-b"]
    assert "no private key" in messages["hospital-b"]


def test_two_sites_train_together_and_one_whose_certificate_is_revoked_does_not(
    federation: Federation,
) -> None:
    server, a, b, c = federation.stack, *(federation.sites[f"hospital-{name}"] for name in "abc")
    key = (a.root / "certs" / "site.key").stat()
    assert (key.st_uid, stat.S_IMODE(key.st_mode)) == (USER, 0o600)
    with server.begin("up", "server", NUM_ROUNDS=20) as up, a.begin("up") as at_a, b.begin("up") as at_b:
        server.wait_for("round finished round=1 ", "server")
        refused = c.up()
        assert refused.returncode != 0
        assert up.wait(PATIENCE_S) == 0
        assert (at_a.wait(PATIENCE_S), at_b.wait(PATIENCE_S)) == (0, 0)
    assert c.container("client").exit_code == 5
    assert re.search(r"the certificate of site hospital-c is revoked \(serial [0-9a-f]+\)", c.log("client"))
    assert re.search(r"refused.*hospital-c is revoked", server.log("server"))
    assert re.search(r"own result round=1 .*run=\d+", a.log("client"))
    assert "federation result round=" in a.log("client")
    names = {f"hospital-{site}.{stack.container('client').host}" for site, stack in (("a", a), ("b", b))}
    assert server.read_run()["status"] == "finished"
    history = server.read_history()
    assert [line["round"] for line in history] == list(range(1, 21))
    for line in history:
        assert {node["name"] for node in line["nodes"]} == names
    events = [json.loads(line) for line in federation.make_or_fail(*EVENTS).splitlines()]
    assert {event["node"] for event in events if event["event"] == "node joined"} == names
    (revoked,) = [event for event in events if event["event"] == "certificate revoked"]
    (refused_at_c,) = [event for event in events if event["event"] == "node refused"]
    assert revoked["site"] == refused_at_c["site"] == "hospital-c"
    assert [event["event"] for event in events if "run" in event] == ["run started", "run finished"]
    networks = [set(s.container("client").facts["NetworkSettings"]["Networks"]) for s in (a, b)]
    assert not networks[0] & networks[1]
    assert "Traceback" not in server.log() + a.log() + b.log() + c.log()


def test_a_server_that_waits_without_limit_logs_it_and_trains_when_a_site_joins(
    federation: Federation,
) -> None:
    server, a = federation.stack, federation.sites["hospital-a"]
    settings = {"CLIENT_WAIT_TIMEOUT": 0, "MIN_CLIENTS": 1, "NUM_ROUNDS": 1, "RESUME": "never"}
    with server.begin("up", "server", **settings) as up:
        server.wait_for(r"waiting for nodes .*(without limit|remaining_s=inf)", "server")
        with a.begin("up") as at_a:
            assert up.wait(PATIENCE_S) == 0
            assert at_a.wait(PATIENCE_S) == 0


def test_revoking_a_site_ends_its_running_client_and_the_others_continue(
    federation: Federation,
) -> None:
    server, a = federation.stack, federation.sites["hospital-a"]
    federation.bundle("hospital-d")
    d = federation.unpack("hospital-d")
    settings = {"NUM_ROUNDS": 300, "MIN_UPDATES": 1}
    with server.begin("up", "server", **settings) as up, a.begin("up"), d.begin("up") as at_d:
        server.wait_for("round finished round=1 rounds=300 nodes=2", "server")
        federation.make_or_fail("pki-revoke", "NAME=hospital-d")
        assert at_d.wait(PATIENCE_S) != 0
        assert d.container("client").exit_code == 5
        assert "site hospital-d is revoked" in d.log("client")
        server.wait_for(r"site hospital-d is revoked", "server")
        server.wait_for(r"round finished round=\d+ rounds=300 nodes=1", "server")
        server.run("stop")
        up.wait(PATIENCE_S)
        a.run("kill")


def test_a_new_bundle_replaces_the_certificate_and_keeps_the_sites_settings(
    federation: Federation,
) -> None:
    federation.bundle("hospital-e")
    site = federation.unpack("hospital-e")
    (site.root / ".env").write_text("NODE_NAME=ward-7\n")

    def read(*command: str) -> str:
        assert site.up("certs").returncode == 0
        return site.run_alone("client", *command).stdout

    before = read("cat", "/certs/site.crt")
    federation.make_or_fail("pki-site", "NAME=hospital-e")
    federation.bundle("hospital-e")
    federation.extract("hospital-e", site.root, "--strip-components=1")
    after = read("cat", "/certs/site.crt")
    assert after != before
    assert after.strip() == (site.root / "certs" / "site.crt").read_text().strip()
    assert read("printenv", "NODE_NAME").strip() == "ward-7"


def test_make_client_starts_the_services_of_a_bundle(federation: Federation) -> None:
    server, site = federation.stack, federation.sites["hospital-a"]
    with server.begin("up", "server", NUM_ROUNDS=1, MIN_CLIENTS=1, RESUME="never") as up:
        made = subprocess.run(
            ["make", "client", f"BUNDLE={site.root}"],
            # As in a shell that is set up for the server.
            env=site.variables(COMPOSE_PROJECT_NAME=server.name),
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert made.returncode == 0, made.stdout + made.stderr
        assert up.wait(PATIENCE_S) == 0
    at_site = Stack(f"{server.name}-hospital-a", site.folder, root=site.root)
    try:
        assert {container.service for container in at_site.containers()} == {"certs", "client", "outcome"}
        assert {container.service for container in server.containers()} == {"pki", "server"}
    finally:
        at_site.end()


def test_a_site_trains_a_task_that_is_in_an_image_of_its_own(federation: Federation, tmp_path: Path) -> None:
    server, site = federation.stack, federation.sites["hospital-a"]
    (tmp_path / "hospital").mkdir()
    (tmp_path / "hospital" / "task.py").write_text("from client.tasks.mnist import build_model, load_data\n")
    dockerfile = find_code("COPY hospital").replace("fedmx-client:0.1.0", name_image("client"))
    (tmp_path / "Dockerfile").write_text(dockerfile)
    image = f"{server.name}-hospital:1"
    command = ["docker", "build", "--quiet", "--tag", image, str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True)
    own = site.root / ".env"
    own.write_text(f"CLIENT_IMAGE={image}\nTASK=hospital.task\n")
    try:
        with server.begin("up", "server", NUM_ROUNDS=1, MIN_CLIENTS=1, RESUME="never") as up:
            trained = site.up()
            assert trained.returncode == 0, trained.stdout
            assert up.wait(PATIENCE_S) == 0
        container = site.container("client").facts["Config"]
        assert container["Image"] == image
        assert "TASK=hospital.task" in container["Env"]
    finally:
        own.unlink()
        site.run("down")
        subprocess.run(["docker", "image", "rm", image], check=True, capture_output=True)


def test_a_bundle_names_the_images_of_the_federation_that_wrote_it(federation: Federation) -> None:
    stack = federation.stack
    wanted = {"": __version__, "another": "another"}
    for given, version in wanted.items():
        if given:
            command = ["docker", "tag", name_image("server", stack.name), f"{stack.name}-server:{given}"]
            subprocess.run(command, check=True)
            stack.environment["FEDMX_VERSION"] = given
        try:
            path = federation.bundle("hospital-a")
        finally:
            if stack.environment.pop("FEDMX_VERSION", ""):
                subprocess.run(["docker", "image", "rm", command[-1]], check=True, capture_output=True)
        with tarfile.open(path) as archive:
            archive.extractall(federation.folder / "read", filter="data")
        folder = federation.folder / "read" / "hospital-a"
        content = "".join(file.read_text() for file in folder.iterdir() if file.is_file())
        assert f"{stack.name}-client:{version}" in content
        assert f"{stack.name}-client-gpu:{version}" in content


def test_an_invalid_key_in_a_bundle_is_reported_in_one_line(
    federation: Federation,
) -> None:
    site, other = (federation.sites[name] for name in ("hospital-a", "hospital-c"))
    key = site.root / "certs" / "site.key"
    whole = key.read_bytes()

    def read_line() -> str:
        done = site.run_alone("certs")
        assert done.returncode == 2, done.stdout
        # Compose's own lines are indented.
        lines = [line for line in done.stdout.splitlines() if not line.startswith(" ")]
        assert len(lines) == 1, lines
        return lines[0]

    try:
        site.override = "services: {certs: {cap_add: !override [CHOWN]}}"
        assert read_line().startswith("/bundle/certs/site.key: Permission denied; expected a file that")
        site.override = ""
        key.write_bytes((other.root / "certs" / "site.key").read_bytes())
        assert read_line().startswith("/bundle/certs/site.key: not the key of site.crt; expected")
        key.unlink()
        assert read_line().startswith("/bundle/certs/site.key: no such file; expected")
    finally:
        site.override = ""
        key.write_bytes(whole)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["bundle", "SITE=Hospital", "SERVER_ADDRESS=a:1"], "site 'Hospital': "),
        (["bundle", "SITE=hospital-z", "SERVER_ADDRESS=a"], "SERVER_ADDRESS='a': expected host:port"),
        (["pki-revoke", "NAME=hospital-z"], "site 'hospital-z' has no certificate to revoke"),
    ],
)  # fmt: skip
def test_make_reports_a_problem_in_one_line_and_creates_nothing(
    federation: Federation, arguments: list[str], line: str
) -> None:
    before = set(federation.folder.iterdir())
    made = federation.make(*arguments)
    assert made.returncode == 2
    line_found, end = made.stderr.splitlines()
    assert line_found.startswith(line)
    assert end.endswith("Error 2")
    assert set(federation.folder.iterdir()) == before


def test_an_address_that_the_servers_certificate_lacks_is_a_warning(federation: Federation) -> None:
    made = federation.make("bundle", "SITE=hospital-a", "SERVER_ADDRESS=fl.example.org:8080")
    assert made.returncode == 0
    (line,) = made.stderr.splitlines()
    assert line.startswith("WARNING SERVER_ADDRESS=fl.example.org:8080: ")
    assert "`make pki-server SERVER_NAMES=fl.example.org`" in line
