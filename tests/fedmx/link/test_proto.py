"""The wire contract and the modules made from it."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
LINK = Path("fedmx/link")


def test_the_generated_modules_are_those_of_the_contract(tmp_path: Path) -> None:
    outputs = [f"--python_out={tmp_path}", f"--pyi_out={tmp_path}"]
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I.", *outputs, str(LINK / "link.proto")]
    subprocess.run(command, cwd=ROOT, check=True)
    for name in ("link_pb2.py", "link_pb2.pyi"):
        assert (tmp_path / LINK / name).read_bytes() == (ROOT / LINK / name).read_bytes(), "run `make proto`"
