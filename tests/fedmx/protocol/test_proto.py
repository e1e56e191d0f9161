"""The wire contract and the modules generated from it."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
PROTOCOL = Path("fedmx/protocol")


def test_the_generated_modules_are_up_to_date(tmp_path: Path) -> None:
    outputs = [f"--python_out={tmp_path}", f"--pyi_out={tmp_path}"]
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I.", *outputs, str(PROTOCOL / "link.proto")]
    subprocess.run(command, cwd=ROOT, check=True)
    for name in ("link_pb2.py", "link_pb2.pyi"):
        assert (tmp_path / PROTOCOL / name).read_bytes() == (ROOT / PROTOCOL / name).read_bytes(), (
            "run `make proto`"
        )
