"""What shows a run costs nothing where it is off."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PACKAGES = (
    "starlette",
    "uvicorn",
    "prometheus_client",
    "tensorboardX",
    "server.status",
    "server.trackers",
    "http.server",
)
PROGRAM = """
import sys
from fedmx.settings import ServerSettings
from server import serving
from server.reporting.reporters import build
from server.report import Outcome
from tests.server.reports import make_report

with build(ServerSettings()) as reporters:
    reporters.on_round(make_report(1))
    reporters.on_end(Outcome("interrupted"))
print(*(name for name in sys.argv[1:] if name in sys.modules))
"""


def test_a_server_imports_nothing_of_what_is_off() -> None:
    command = [sys.executable, "-c", PROGRAM, *PACKAGES]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
