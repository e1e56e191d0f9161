"""Sets a network's arrays from a finished run: `load_into(net, "latest")`, in any script or notebook.

This needs neither a server nor settings, only the run's folder and a network with the same parameters.
"""

from pathlib import Path

from flwr.app import Array

from client import model
from client.mx import gluon, mx
from client.saved_run import SavedRun, find_run
from client.seeding import seed_all
from client.task import Task
from fedmx import arrays
from fedmx.errors import DataError


def load_into(net: gluon.Block, run: str | Path | SavedRun, *, best: bool = False) -> None:
    """Set all parameters of a network from a run.

    Args:
        net: a network with the parameters of the one that was trained. It may be hybridized, and on any
            devices. If it is not initialized, it is initialized on the current device.
        run: the folder of a finished run, or its name in RUNS_DIR, such as `latest`.
        best: whether to use the model of the best round instead of the last round's.

    Raises:
        DataError: no such run exists, or names, shapes or dtypes differ.
    """
    saved = run if isinstance(run, SavedRun) else find_run(run, is_best=best)
    record = saved.read_arrays()
    parameters = model.name_parameters(net)
    try:
        model.check_dense(net)
        _check(parameters, record)
    except ValueError as error:
        path = saved.find_file(".npz")
        raise DataError(f"{path}: {error}: build the network as the run's task {saved.task} does") from None
    for name, parameter in parameters.items():
        _initialize(parameter, arrays.view(record[name]).shape)
    model.write(parameters, record)


def build_network(task: Task, run: SavedRun) -> gluon.Block:
    """Build the network of a run's task, with the run's arrays, on the CPU.

    Raises:
        SettingsError: the task's function raises an exception.
        DataError: the run's files are damaged, or the task has changed since the run.
    """
    seed_all(0)
    net = task.build_model()
    with mx.cpu():
        load_into(net, run)
    return net


def _check(parameters: model.Parameters, record: dict[str, Array]) -> None:
    model.check_names(parameters, record)
    for name, parameter in parameters.items():
        values = arrays.view(record[name])
        wanted = parameter.shape
        # The size of a dimension is 0 or -1 until a batch of examples reaches the layer.
        is_same = wanted is None or (
            len(wanted) == values.ndim
            and all(size in (0, -1, found) for size, found in zip(wanted, values.shape, strict=True))
        )
        dtype = model.find_dtype(parameter)
        if not is_same or values.dtype != dtype:
            raise ValueError(
                f"array {name!r} is {values.dtype} {values.shape}; expected"
                f" {dtype} {wanted}, as the network has it"
            )


def _initialize(parameter: gluon.Parameter, shape: tuple[int, ...]) -> None:
    # gluon has no public way to ask whether a parameter has values.
    if parameter._data is not None:  # noqa: SLF001
        return
    parameter.shape = shape
    try:
        devices = parameter.list_ctx()
    except RuntimeError:
        devices = [mx.current_context()]
    parameter.initialize(mx.init.Zero(), devices, force_reinit=True)
