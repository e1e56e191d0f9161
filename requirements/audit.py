"""Ask a source of known vulnerabilities about every lock: `make audit`. Nothing is installed.

Exit codes: 0, none is known, or no source could be asked, which is said; 1, one is known, or the source does
not know a package; 2, a lock cannot be read; 3, no source could be asked, and REQUIRE_AUDIT=1.
"""
# ruff: noqa: INP001 - a program of its own

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LOCKS = [f"requirements/{name}.txt" for name in ("server", "client", "gpu", "dev")]
SERVICES = ("pypi", "osv", "esms")  # by pip-audit's names
# A release whose vulnerabilities every source knows. What finds none in it is no source: a mirror of packages
# may answer, and know of no vulnerability at all.
KNOWN_BAD = "jinja2==2.11.2"


def main() -> int:
    """Audit the locks; give the exit code."""
    parser = argparse.ArgumentParser(prog="make audit", description="Look for vulnerabilities in the locks.")
    parser.add_argument("--osv-url", help="ask this OSV service alone, for instance a mirror")
    url = parser.parse_args().osv_url
    read = _pip_audit("--dry-run", *_reading(*LOCKS))
    if read.returncode:
        print(f"requirements/: a lock cannot be read: {_last_line(read.stderr)}", file=sys.stderr)
        return 2
    candidates = [["--vulnerability-service", name] for name in SERVICES]
    if url:
        candidates = [["--vulnerability-service", "osv", "--osv-url", url]]
    for service in candidates:
        if _knows_vulnerabilities(service) and (reports := _ask(service)):
            findings = [line for lock, report in reports.items() for line in _find(lock, report)]
            for lock, report in reports.items():
                count = sum(line.startswith(f"{lock}: ") for line in findings)
                print(f"{lock}: {len(report)} packages, {count or 'no'} findings")
            print(*findings, sep="\n", end="\n" if findings else "")
            return int(bool(findings))
    asked = url or ", ".join(SERVICES)
    print(
        f"NOT AUDITED: no source of vulnerabilities answers from here (asked: {asked}), so nothing is known"
        ' about the locks; try from another network, or name an OSV service: make audit ARGS="--osv-url URL"',
        file=sys.stderr,
    )
    return 3 if os.environ.get("REQUIRE_AUDIT") == "1" else 0


def _ask(service: list[str]) -> dict[str, list[Any]] | None:
    """Give what a service says of each lock's packages; None where it stops answering."""
    reports = {}
    for lock in LOCKS:
        report = _report(*service, *_reading(lock))
        if report is None:
            return None
        reports[lock] = report
    return reports


def _knows_vulnerabilities(service: list[str]) -> bool:
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(KNOWN_BAD)
        file.flush()
        report = _report(*service, "--requirement", file.name, "--no-deps", "--disable-pip")
    return any(package.get("vulns") for package in report or [])


def _find(lock: str, report: list[Any]) -> Iterator[str]:
    for package in report:
        if "skip_reason" in package:
            yield f"{lock}: {package['name']}: not known to the source, so not audited"
        for vulnerability in package.get("vulns", []):
            names = ", ".join([vulnerability["id"], *vulnerability["aliases"]])
            fixed = " or ".join(vulnerability["fix_versions"]) or "no version"
            yield f"{lock}: {package['name']} {package['version']}: {names}; fixed in {fixed}"


def _reading(*locks: str) -> list[str]:
    return [*(f"--requirement={lock}" for lock in locks), "--require-hashes", "--disable-pip"]


def _report(*arguments: str) -> list[Any] | None:
    # The exit code is 1 for what was found as for what went wrong; only the former comes with a report.
    done = _pip_audit("--format", "json", "--desc", "off", "--aliases", "on", *arguments)
    packages: list[Any] | None = json.loads(done.stdout)["dependencies"] if done.stdout.strip() else None
    return packages


def _pip_audit(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "pip_audit", "--progress-spinner", "off", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no reason given"])[-1]


if __name__ == "__main__":
    os.chdir(Path(__file__).parents[1])
    sys.exit(main())
