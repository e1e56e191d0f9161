"""Shared libraries, compiled for a test."""

import shutil
import subprocess
from pathlib import Path

import pytest

FAKE_DRIVER = Path(__file__).with_name("fake_driver.c")


def compile_library(source: Path, to: Path, *options: str) -> Path:
    """Compile a C file to a shared library."""
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler found: apt-get install gcc libc6-dev")
    command = [compiler, "-shared", "-fPIC", f"-Wl,-soname,{to.name}", "-o", str(to), str(source), *options]
    subprocess.run(command, check=True)
    return to


def compile_driver(to: Path, *cards: tuple[int, int], fault: int = 0) -> Path:
    """Compile a driver that lists cards of these compute capabilities, or fails with a code."""
    listed = ",".join(f"{{{major},{minor}}}" for major, minor in cards)
    return compile_library(FAKE_DRIVER, to, f"-DCARDS={listed}", f"-DFAULT={fault}")
