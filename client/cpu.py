"""Whether this CPU has the instructions that CPU_ISA asks for."""

from pathlib import Path

from fedmx.log import warn

# The flags of /proc/cpuinfo that oneDNN 2.4 looks for; each set includes those before it.
_FLAGS = {
    "sse41": {"sse4_1"},
    "avx": {"avx"},
    "avx2": {"avx2"},
    "avx2_vnni": {"avx2", "avx_vnni"},
    "avx512_core": {"avx512f", "avx512bw", "avx512vl", "avx512dq"},
    "avx512_core_vnni": {"avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512_vnni"},
    "avx512_core_bf16": {"avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512_vnni", "avx512_bf16"},
}
_CPU_INFO = Path("/proc/cpuinfo")


def warn_if_missing(isa: str) -> None:
    """Log a WARNING if this CPU lacks instructions of a set, which changes the last bits of its models.

    Args:
        isa: a value of CPU_ISA.
    """
    missing = find_missing(isa, _CPU_INFO.read_text())
    if missing:
        warn(
            "CPU_ISA is not available: models differ in their last bits from those of other machines",
            cpu_isa=isa,
            missing=",".join(missing),
        )


def find_missing(isa: str, cpu_info: str) -> list[str]:
    """List the flags that a CPU lacks for an instruction set; for `native`, none.

    Args:
        isa: a value of CPU_ISA.
        cpu_info: the text of /proc/cpuinfo.
    """
    flags = next(
        (line.partition(":")[2].split() for line in cpu_info.splitlines() if line.startswith("flags")), []
    )
    return sorted(_FLAGS.get(isa, set()) - set(flags))
