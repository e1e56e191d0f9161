"""What others' code the programs stand on: declared, locked by hash, audited, and listed for each image."""

import ast
import json
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
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

ROOT = Path(__file__).resolve().parents[1]
LOCKS = ("server", "client", "gpu", "dev")
IMAGES = ("server", "client", "gpu")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OUR_OWN = {"bench", "client", "fedmx", "fuzz", "local", "server", "tests"}
PACKAGE_OF = {"google": "protobuf", "grpc": "grpcio"}  # where a module is not named as its package
VULNERABLE = "jinja2"  # in the release that the audit tries a source with


def read_lock(name: str) -> dict[str, str]:
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    return dict(re.findall(r"^([a-z0-9-]+)(?:\[[a-z,]+\])?==(\S+)", text, re.MULTILINE))


def read_hashes(name: str) -> dict[str, list[str]]:
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    entries = re.split(r"\n(?=[a-z0-9])", text)[1:]
    return {re.split(r"[=\[]", entry)[0]: re.findall(r"--hash=sha256:(\w+)", entry) for entry in entries}


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_holds_versions_and_hashes_and_nothing_else(name: str) -> None:
    entry = r"[a-z0-9-]+(\[[a-z,]+\])?==[\w.+!-]+( ; .*)? \\"
    allowed = re.compile(rf"#.*|    # via .*|{entry}|    --hash=sha256:[0-9a-f]{{64}}( \\)?")
    lines = (ROOT / "requirements" / f"{name}.txt").read_text().splitlines()
    assert [line for line in lines if not allowed.fullmatch(line)] == []
    assert read_hashes(name).keys() == read_lock(name).keys()
    assert [package for package, hashes in read_hashes(name).items() if not hashes] == []


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_names_no_address_that_files_would_come_from(name: str) -> None:
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


def imported(*trees: str) -> set[str]:
    """Give the packages that modules import, those of the standard library and our own left out."""
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
    assert imported("client") <= declared("client")


def test_what_the_launcher_imports_is_declared_for_development() -> None:
    assert imported("local") <= declared("server", "client", "dev")


def test_no_image_gets_a_dependency_that_nothing_imports() -> None:
    programs = imported("fedmx", "server", "client")
    assert declared("server", "client") == programs


@pytest.mark.parametrize(
    ("lock", "extras"), [("server", ["server"]), ("client", ["client"]), ("gpu", ["gpu"])]
)
def test_what_is_declared_for_an_image_is_in_its_lock(lock: str, extras: list[str]) -> None:
    assert declared(*extras) <= read_lock(lock).keys()


def make_bills(folder: Path) -> dict[str, str]:
    (folder / "requirements").mkdir()
    for path in [*ROOT.glob("Dockerfile.*"), ROOT / "pyproject.toml"]:
        shutil.copy(path, folder)
    for path in (ROOT / "requirements").iterdir():
        if path.is_file():
            shutil.copy(path, folder / "requirements")
    subprocess.run([sys.executable, folder / "requirements" / "sbom.py"], check=True, capture_output=True)
    return {path.name.partition(".")[0]: path.read_text() for path in (folder / "sbom").iterdir()}


@pytest.fixture(scope="module")
def bills(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return make_bills(tmp_path_factory.mktemp("bills"))


def test_the_same_locks_make_the_same_bills_of_materials(bills: dict[str, str], tmp_path: Path) -> None:
    assert set(bills) == set(IMAGES)
    assert make_bills(tmp_path) == bills


@pytest.mark.parametrize("name", IMAGES)
def test_a_bill_of_materials_lists_every_locked_package_with_its_hashes(
    bills: dict[str, str], name: str
) -> None:
    listed = [
        one for one in json.loads(bills[name])["components"] if one.get("purl", "").startswith("pkg:pypi/")
    ]
    assert {one["name"]: one["version"] for one in listed} == read_lock(name)
    assert len(listed) == len(read_lock(name))
    assert {one["purl"] for one in listed} == {f"pkg:pypi/{k}@{v}" for k, v in read_lock(name).items()}
    hashes = {one["name"]: one["externalReferences"][0]["hashes"] for one in listed}
    assert {name: sorted(each["content"] for each in found) for name, found in hashes.items()} == {
        name: sorted(found) for name, found in read_hashes(name).items()
    }


@pytest.mark.parametrize("name", IMAGES)
def test_a_bill_of_materials_is_valid_and_says_what_it_does_not_cover(
    bills: dict[str, str], name: str
) -> None:
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(bills[name]) is None
    bill = json.loads(bills[name])
    described = bill["metadata"]["component"]
    assert (described["type"], described["version"]) == ("container", PROJECT["version"])
    assert bill["compositions"] == [{"aggregate": "incomplete", "assemblies": [described["bom-ref"]]}]


@pytest.mark.parametrize("name", IMAGES)
def test_a_bill_of_materials_holds_no_time_no_random_number_and_no_address(
    bills: dict[str, str], name: str
) -> None:
    assert not re.findall(r'"(serialNumber|timestamp)"', bills[name])
    assert set(re.findall(r"\w+://[^/\"]*", bills[name])) == {"http://cyclonedx.org"}


@pytest.mark.parametrize(
    ("name", "installed"),
    [
        ("server", {"python3"}),
        ("client", {"libgomp1", "libquadmath0", "python3"}),
        ("gpu", {"libgomp1", "libquadmath0", "python3"}),
    ],
)
def test_a_bill_of_materials_names_the_base_image_and_what_is_installed_on_it(
    bills: dict[str, str], name: str, installed: set[str]
) -> None:
    components = json.loads(bills[name])["components"]
    assert {one["name"] for one in components if one.get("purl", "").startswith("pkg:deb/")} == installed
    assert [(one["name"], one["version"]) for one in components if one["type"] == "container"] == [
        ("debian", "bookworm-slim")
    ]


class Source:
    """A source of vulnerabilities on this machine, as OSV's protocol has it.

    Attributes:
        vulnerable: names of packages in which it knows something.
        status: its answers' HTTP status.
    """

    def __init__(self) -> None:
        self.vulnerable = {VULNERABLE}
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
    """A copy of the audit beside four small locks."""
    folder = tmp_path / "requirements"
    folder.mkdir()
    shutil.copy(ROOT / "requirements" / "audit.py", folder)
    for name in LOCKS:
        (folder / f"{name}.txt").write_text(f"only-{name}==1.0 \\\n    --hash=sha256:{'0' * 64}\n")
    return tmp_path


def audit(corner: Path, url: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "requirements/audit.py", "--osv-url", url],
        cwd=corner,
        env={"HOME": str(corner), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_an_audit_that_finds_nothing_says_how_much_it_asked_about(corner: Path, source: Source) -> None:
    done = audit(corner, source.url)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [f"requirements/{name}.txt: 1 packages, no findings" for name in LOCKS]


def test_a_vulnerability_is_named_with_its_lock_and_the_version_that_mends_it(
    corner: Path, source: Source
) -> None:
    source.vulnerable.add("only-gpu")
    done = audit(corner, source.url)
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == ("requirements/gpu.txt: only-gpu 1.0: CVE-0, TEST-1; fixed in 9.9")


@pytest.mark.parametrize("fault", ["gone", "failing", "knows nothing"])
def test_no_source_is_no_clean_audit(corner: Path, source: Source, fault: str) -> None:
    if fault == "gone":
        source.close()
    elif fault == "failing":
        source.status = 500
    else:
        source.vulnerable.clear()
    for required, code in (("", 0), ("1", 3)):
        done = audit(corner, source.url, REQUIRE_AUDIT=required)
        assert (done.returncode, done.stdout) == (code, "")
        assert re.fullmatch(r"NOT AUDITED: no source of vulnerabilities answers .*\n", done.stderr)


def test_a_package_that_the_source_does_not_know_is_a_finding(corner: Path) -> None:
    # In place of pip-audit: one vulnerability in the release that sources are tried with, else nothing known.
    (corner / "pip_audit.py").write_text("""
import json, sys
found = {"id": "TEST-1", "aliases": [], "fix_versions": []}
known = {"name": "jinja2", "version": "2.11.2", "vulns": [found]}
unknown = {"name": "only-here", "skip_reason": "not found"}
print(json.dumps({"dependencies": [known if "--no-deps" in sys.argv else unknown]}))
""")
    done = audit(corner, "http://127.0.0.1:1", PYTHONPATH=str(corner))
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == (
        "requirements/dev.txt: only-here: not known to the source, so not audited"
    )


def test_a_lock_without_hashes_is_said_to_be_unreadable(corner: Path, source: Source) -> None:
    (corner / "requirements" / "client.txt").write_text("only-client==1.0\n")
    done = audit(corner, source.url)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("requirements/: a lock cannot be read: ")
    assert "only-client" in done.stderr
    assert done.stderr.count("\n") == 1
