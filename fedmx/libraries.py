"""Environment variables that libraries read when they are imported or first used; they are set here alone."""

import os


def is_set(variable: str) -> bool:
    """Return whether the user has set a library's variable."""
    return variable in os.environ


def silence() -> None:
    """Turn off what libraries send, print and do at forks on their own.

    Flower has telemetry and a check for updates. gRPC prints a line for every handshake that fails, so that
    anyone who reaches an open port could fill the log. At a fork, gRPC restarts its threads in the child,
    which aborts if a stream was in use: a task's workers would end at random (grpc/grpc#43055).
    """
    os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
    os.environ["FLWR_DISABLE_UPDATE_CHECK"] = "1"
    os.environ["GRPC_VERBOSITY"] = "ERROR"
    os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"


def set_omp_threads(count: int) -> None:
    """Set the number of OpenMP threads; MXNet reads it at its first import.

    Two runs are bit-identical only with the same number, so CLIENT_THREADS takes precedence over the shell.
    """
    os.environ["OMP_NUM_THREADS"] = str(count)


def set_cpu_isa(isa: str) -> None:
    """Limit the CPU instructions that oneDNN uses; it reads the limit when MXNet first computes.

    oneDNN chooses kernels by CPU, and each set of kernels gives a model other last bits.

    Args:
        isa: a value of CPU_ISA.
    """
    # oneDNN silently ignores a name in lower case.
    os.environ["DNNL_MAX_CPU_ISA"] = "ALL" if isa == "native" else isa.upper()
