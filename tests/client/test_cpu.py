"""What a CPU lacks for an instruction set, and that CPU_ISA reaches oneDNN."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from client.cpu import _FLAGS, find_missing
from fedmx.errors import SettingsError
from fedmx.settings import CPU_ISAS, ClientSettings, load

ROOT = Path(__file__).parents[2]
SKYLAKE = "processor\t: 0\nflags\t\t: sse4_1 avx avx2 avx512f avx512dq avx512bw avx512vl\nbugs\t: none\n"
HASWELL = "flags : sse4_1 avx avx2\n"
# What oneDNN calls the sets that every CPU of the last ten years has.
NAMES = {"sse41": "Intel SSE4.1", "avx": "Intel AVX", "avx2": "Intel AVX2"}
COMPUTE = """
from client.mx import mx

net = mx.gluon.nn.Dense(4)
net.initialize()
net(mx.nd.ones((2, 3))).wait_to_read()
"""


def test_every_set_that_a_setting_accepts_has_its_flags() -> None:
    assert set(_FLAGS) == set(CPU_ISAS)


@pytest.mark.parametrize(
    ("isa", "cpu_info", "missing"),
    [
        ("avx2", HASWELL, []),
        ("avx512_core", SKYLAKE, []),
        ("avx512_core_vnni", SKYLAKE, ["avx512_vnni"]),
        ("avx512_core", HASWELL, ["avx512bw", "avx512dq", "avx512f", "avx512vl"]),
        ("avx2_vnni", HASWELL, ["avx_vnni"]),
        ("avx2", "flags : sse4_1 avx\n", ["avx2"]),
        ("native", "flags :\n", []),
        ("sse41", "", ["sse4_1"]),
    ],
)
def test_the_missing_flags_are_those_of_the_set_that_the_cpu_has_not(
    isa: str, cpu_info: str, missing: list[str]
) -> None:
    assert find_missing(isa, cpu_info) == missing


def find_isa_of_onednn(**settings: str) -> str:
    """Return the instruction set that oneDNN reports when a process computes."""
    done = subprocess.run(
        [sys.executable, "-c", COMPUTE],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "DNNL_VERBOSE": "1", **settings},
        capture_output=True,
        text=True,
        check=True,
    )
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("dnnl_verbose,info,cpu,isa:")]
    return line.partition("isa:")[2]


@pytest.mark.parametrize("isa", ["sse41", "avx"])
def test_cpu_isa_reaches_onednn_whatever_the_shell_exported(isa: str) -> None:
    assert find_isa_of_onednn(CPU_ISA=isa, DNNL_MAX_CPU_ISA="ALL") == NAMES[isa]


def test_avx2_is_the_default_and_native_is_no_limit() -> None:
    assert find_isa_of_onednn(DNNL_MAX_CPU_ISA="ALL") == NAMES["avx2"]
    assert load(ClientSettings, environ={}).cpu_isa == "avx2"
    native = find_isa_of_onednn(CPU_ISA="native", DNNL_MAX_CPU_ISA="SSE41")
    assert native != NAMES["sse41"]


def test_another_value_is_refused_with_the_accepted_ones() -> None:
    with pytest.raises(SettingsError) as caught:
        load(ClientSettings, environ={"CPU_ISA": "avx512"})
    assert caught.value.exit_code == 2
    assert all(isa in str(caught.value) for isa in ("CPU_ISA='avx512'", "native", *CPU_ISAS))
