"""Third-party dependencies: declared, locked by hash, audited, and listed for each image."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from fedmx import FLOWER_VERSION

ROOT = Path(__file__).resolve().parents[1]
LOCKS = ("server", "client", "gpu", "export", "run", "dev")
IMAGES = ("server", "client", "gpu")
# The other locks have parts of these.
AUDITED = (*IMAGES, "dev", "docs", "tensorboard", "mlflow", "simulation")
CONFIGURATION = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT, SETUPTOOLS = CONFIGURATION["project"], CONFIGURATION["tool"]["setuptools"]
OUR_OWN = {"bench", "client", "examples", "fedmx", "fuzz", "local", "server", "tests"}
# Where a module is not named as its package.
PACKAGE_OF = {
    "dp_accounting": "dp-accounting",
    "google": "protobuf",
    "grpc": "grpcio",
    "prometheus_client": "prometheus-client",
    "tensorboardX": "tensorboardx",
    "yaml": "pyyaml",
}


def read_lock(name: str) -> dict[str, str]:
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    return dict(re.findall(r"^([a-z0-9-]+)(?:\[[a-z,]+\])?==(\S+)", text, re.MULTILINE))


def read_hashes(name: str) -> dict[str, list[str]]:
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    entries = re.split(r"\n(?=[a-z0-9])", text)[1:]
    return {re.split(r"[=\[]", entry)[0]: re.findall(r"--hash=sha256:(\w+)", entry) for entry in entries}


def test_the_apps_expect_the_version_of_flower_that_is_declared() -> None:
    assert f"flwr=={FLOWER_VERSION}" in PROJECT["dependencies"]


@pytest.mark.parametrize("name", [*LOCKS, "simulation"])
def test_a_lock_contains_versions_and_hashes_and_nothing_else(name: str) -> None:
    entry = r"[a-z0-9-]+(\[[a-z,]+\])?==[\w.+!-]+( ; .*)? \\"
    allowed = re.compile(rf"#.*|    # via .*|{entry}|    --hash=sha256:[0-9a-f]{{64}}( \\)?")
    lines = (ROOT / "requirements" / f"{name}.txt").read_text().splitlines()
    assert [line for line in lines if not allowed.fullmatch(line)] == []
    assert read_hashes(name).keys() == read_lock(name).keys()
    assert [package for package, hashes in read_hashes(name).items() if not hashes] == []


@pytest.mark.parametrize("name", [*LOCKS, "simulation"])
def test_a_lock_contains_no_address_of_a_package_index(name: str) -> None:
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    assert not re.search(r"://|--index|--extra-index|--find-links|\.(org|com|net|io)\b", text)


def test_the_locks_agree_on_every_version() -> None:
    tested = read_lock("dev")
    for name in IMAGES:
        differing = {
            package: version
            for package, version in read_lock(name).items()
            if tested.get(package, version) != version
        }
        assert not differing, name
    assert read_lock("server").keys() | read_lock("client").keys() <= tested.keys()


def test_mxnet_is_in_the_locks_of_clients_only() -> None:
    assert not [package for package in read_lock("server") if "mxnet" in package]
    assert read_lock("client")["mxnet"] == "1.9.1"
    assert read_lock("gpu")["mxnet-cu112"] == "1.9.1"
    assert "mxnet" not in read_lock("gpu")


def declared(*extras: str) -> set[str]:
    wanted = PROJECT["dependencies"] + [
        one for extra in extras for one in PROJECT["optional-dependencies"][extra]
    ]
    return {re.split(r"[\[=<>~! ]", requirement)[0] for requirement in wanted}


def declared_alone(extra: str) -> set[str]:
    """Return the packages that an extra adds."""
    return declared(extra) - declared()


def imported(*trees: str) -> set[str]:
    """Return the third-party packages that modules import."""
    names = set()
    for path in [path for tree in trees for path in (ROOT / tree).rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.partition(".")[0])
    return {PACKAGE_OF.get(name, name) for name in names - sys.stdlib_module_names - OUR_OWN}


def test_what_a_program_imports_is_declared_for_its_image() -> None:
    assert imported("fedmx") <= declared()
    assert imported("server") <= declared("server")
    assert imported("client") <= declared("client", "export")


def test_what_the_launcher_imports_is_declared_for_development() -> None:
    # Only the simulation imports Ray, which Flower's extra brings into its environment.
    assert imported("local") - {"ray"} <= declared("server", "client", "local")
    assert CONFIGURATION["dependency-groups"]["simulation"] == ["flwr[simulation]==1.42.0"]
    assert "flwr==1.42.0" in PROJECT["dependencies"]


def test_the_simulation_has_what_a_run_has_and_ray_which_nothing_else_has() -> None:
    simulation, run = read_lock("simulation"), read_lock("run")
    assert run.items() <= simulation.items()
    assert "ray" in simulation
    assert [name for name in LOCKS if "ray" in read_lock(name)] == []


def test_no_image_gets_a_dependency_that_nothing_imports() -> None:
    programs = imported("fedmx", "server", "client") - declared_alone("export")
    # MXNet imports distutils, which newer Pythons have from setuptools alone.
    assert declared("server", "client") == programs | {"setuptools"}


def test_the_distribution_contains_every_package_of_the_programs() -> None:
    modules = [
        path for tree in ("client", "fedmx", "local", "server") for path in (ROOT / tree).rglob("*.py")
    ]
    packages = {".".join(path.parent.relative_to(ROOT).parts) for path in modules}
    assert set(SETUPTOOLS["packages"]) == packages


@pytest.mark.parametrize(
    ("lock", "extras"),
    [
        ("server", ["server"]),
        ("client", ["client"]),
        ("gpu", ["gpu"]),
        ("export", ["server", "client", "local", "export"]),
    ],
)
def test_what_is_declared_for_an_image_is_in_its_lock(lock: str, extras: list[str]) -> None:
    assert declared(*extras) <= read_lock(lock).keys()


def list_installed_in_images(lock: str) -> dict[str, str]:
    """Return the names and versions of a lock that Debian 12's Python installs."""
    text = (ROOT / "requirements" / f"{lock}.txt").read_text()
    entries = map(Requirement, re.findall(r"^([a-z].*) \\$", text, re.MULTILINE))
    image = {"python_version": "3.11", "python_full_version": "3.11.2", "sys_platform": "linux"}
    found = [entry for entry in entries if entry.marker is None or entry.marker.evaluate(image)]
    return {entry.name: str(entry.specifier).removeprefix("==") for entry in found}


@pytest.mark.slow
def test_a_bill_of_materials_lists_what_each_image_installs_of_its_lock(tmp_path: Path) -> None:
    for path in ("Makefile", "pyproject.toml", "docker-compose.yml", "compose.superlink.yml", ".env"):
        shutil.copy(ROOT / path, tmp_path)
    for path in ("requirements", "server/authority/site"):
        shutil.copytree(ROOT / path, tmp_path / path)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    subprocess.run(["make", "--old-file=.venv/dev.ok", "sbom"], cwd=tmp_path, check=True, capture_output=True)
    for name in IMAGES:
        bill = json.loads((tmp_path / "sbom" / f"{name}.cdx.json").read_text())
        listed = [(one["name"], one["version"]) for one in bill["components"]]
        assert sorted(listed) == sorted(list_installed_in_images(name).items())
        assert dict(listed)["numpy"] == "1.26.4"
        assert all(one["externalReferences"][0]["hashes"] for one in bill["components"])
    tools = json.loads((tmp_path / "sbom" / "tensorboard.cdx.json").read_text())
    assert "tensorboard" in [one["name"] for one in tools["components"]]


class Source:
    """A vulnerability source on this machine, which answers in OSV's protocol.

    Attributes:
        vulnerable: names of packages in which it knows something.
        status: its answers' HTTP status.
    """

    def __init__(self) -> None:
        self.vulnerable: set[str] = set()
        self.status = 200
        source = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                answer = source.answer(asked["package"]["name"])
                self.send_response(source.status)
                self.end_headers()
                self.wfile.write(json.dumps(answer).encode())

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1/query"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def answer(self, name: str) -> dict[str, Any]:
        if name not in self.vulnerable:
            return {}
        events = [{"introduced": "0"}, {"fixed": "9.9"}]
        package = {"name": name, "ecosystem": "PyPI"}
        affected = [{"package": package, "ranges": [{"type": "ECOSYSTEM", "events": events}]}]
        return {"vulns": [{"id": "TEST-1", "aliases": ["CVE-0"], "affected": affected}]}

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def source() -> Iterator[Source]:
    opened = Source()
    yield opened
    opened.close()


@pytest.fixture
def corner(tmp_path: Path) -> Path:
    """A copy of the audit beside small locks."""
    folder = tmp_path / "requirements"
    folder.mkdir()
    shutil.copy(ROOT / "requirements" / "audit.sh", folder)
    for name in AUDITED:
        (folder / f"{name}.txt").write_text(f"only-{name}==1.0 \\\n    --hash=sha256:{'0' * 64}\n")
    return tmp_path


def audit(corner: Path, url: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["sh", "requirements/audit.sh", "--vulnerability-service", "osv", "--osv-url", url],
        cwd=corner,
        env={"HOME": str(corner), "PATH": os.defpath, "PYTHON": sys.executable, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_an_audit_that_finds_nothing_names_each_lock(corner: Path, source: Source) -> None:
    done = audit(corner, source.url)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == len(AUDITED)


@pytest.mark.slow
def test_a_known_vulnerability_is_named_with_its_lock(corner: Path, source: Source) -> None:
    source.vulnerable.add("only-gpu")
    done = audit(corner, source.url)
    assert done.returncode == 1
    parts = ("requirements/gpu.txt: ", "Found 1 known", "only-gpu", "9.9")
    assert [part for part in parts if part not in done.stdout] == [], done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "required", "code"), [("gone", "", 0), ("failing", "1", 3)])
def test_no_answer_is_no_clean_audit(
    corner: Path, source: Source, fault: str, required: str, code: int
) -> None:
    if fault == "gone":
        source.close()
    else:
        source.status = 500
    done = audit(corner, source.url, REQUIRE_AUDIT=required)
    assert (done.returncode, done.stdout) == (code, "")
    assert re.fullmatch(r"NOT AUDITED: requirements/server\.txt .*\n", done.stderr)
