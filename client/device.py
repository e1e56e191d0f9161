"""Which device to train on, and a clear word when it is not there."""

from client.mx import mx
from fedmx.errors import SettingsError
from fedmx.log import warn


def pick_device(device: str) -> mx.Context:
    """Give MXNet's context for DEVICE.

    A GPU counts when it has carried out an operation: a driver that lists one is no proof.

    Args:
        device: `auto` (a GPU if one works, else the CPU with one warning), `cpu` or `gpu`.

    Raises:
        SettingsError: `gpu`, and none works.
    """
    if device == "cpu":
        return mx.cpu()
    fault = _find_gpu_fault()
    if fault is None:
        return mx.gpu()
    if device == "gpu":
        raise SettingsError(f"DEVICE=gpu: {fault}; expected a working CUDA device, or DEVICE=cpu")
    if "CUDA" in mx.runtime.Features() and mx.runtime.Features().is_enabled("CUDA"):
        warn(f"training on the CPU: {fault}")
    return mx.cpu()


def _find_gpu_fault() -> str | None:
    if not mx.runtime.Features().is_enabled("CUDA"):
        return "this MXNet is built without CUDA (package mxnet; mxnet-cu112 has it)"
    try:
        if mx.context.num_gpus() == 0:
            return "no CUDA device is visible"
        mx.nd.ones((1,), ctx=mx.gpu()).asnumpy()
    except mx.base.MXNetError as error:
        return str(error).strip().splitlines()[0]
    return None
