"""The commands for a finished run's model and for tasks: their arguments, and what runs each."""

import argparse
import sys
from collections.abc import Callable
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import TextIO

from fedmx.command_line import Command
from fedmx.program import ArgumentParser
from fedmx.settings import ClientSettings, ModelSettings

FORMATS = ("params", "mxnet", "onnx", "npz")
TEMPLATES = ("mnist", "tabular", "images")
"""The built-in tasks that a new one can start from; the first is the default."""
_SETTINGS = {"settings of the client": ClientSettings, "settings of models": ModelSettings}


def run(arguments: argparse.Namespace) -> None:
    """Carry out a command. Only its result goes to standard output; what tasks print goes to standard error.

    Raises:
        SettingsError: an argument is not valid, or the task's code raises an exception.
        DataError: a file is missing, cannot be read or written, or is not valid.
    """
    # Tasks print, and so does MXNet's exporter; their lines would damage JSON and archives.
    output = sys.stdout
    # The reader of a pipe, such as `head`, may end when it has enough.
    with suppress(BrokenPipeError), redirect_stdout(sys.stderr):
        _RUN[arguments.command](arguments, output)


# MXNet takes seconds to import, so each command is imported only when it runs.
def _export(arguments: argparse.Namespace, output: TextIO) -> None:
    from client import export  # noqa: PLC0415 - see above

    export.run(arguments, output)


def _predict(arguments: argparse.Namespace, output: TextIO) -> None:
    from client import predict  # noqa: PLC0415 - see above

    predict.run(arguments, output)


def _evaluate(arguments: argparse.Namespace, output: TextIO) -> None:
    from client import evaluate  # noqa: PLC0415 - see above

    evaluate.run(arguments, output)


def _check_task(arguments: argparse.Namespace, output: TextIO) -> None:
    from client import check_task  # noqa: PLC0415 - see above

    check_task.run(arguments, output)


def _new_task(arguments: argparse.Namespace, output: TextIO) -> None:
    from client import new_task  # noqa: PLC0415 - see above

    new_task.run(arguments, output)


def _add_export_arguments(parser: ArgumentParser) -> None:
    _add_run(parser)
    parser.add_argument("--format", choices=FORMATS, required=True, help="format of the file")
    parser.add_argument(
        "--output",
        type=Path,
        help="file to write; one that exists is replaced; default: the run's id, in this folder",
    )
    parser.add_argument("--tar", action="store_true", help="write an archive to standard output instead")
    parser.add_argument(
        "--input",
        action="append",
        default=[],
        metavar="SHAPE",
        help="shape of one example, such as 1,28,28 or int32:20; once for each input of the network;"
        " default: that of the examples in DATA_DIR",
    )


def _add_predict_arguments(parser: ArgumentParser) -> None:
    _add_run(parser)
    parser.add_argument("file", nargs="+", type=Path, help="PNG, JPEG, IDX or npz file, or the task's own")
    parser.add_argument("--json", action="store_true", help="write one JSON object per line")


def _add_evaluate_arguments(parser: ArgumentParser) -> None:
    _add_run(parser)
    parser.add_argument("data_dir", nargs="?", type=Path, help="folder of the data; default: DATA_DIR")
    parser.add_argument("--json", action="store_true", help="write one JSON object")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw the confusion matrix")


def _add_check_task_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("task", metavar="MODULE", help="the task's module, such as my_task")
    parser.add_argument("data_dir", nargs="?", type=Path, help="folder of the data; default: DATA_DIR")
    parser.add_argument("--json", action="store_true", help="write one JSON object")


def _add_new_task_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="name of the module, such as my_task")
    parser.add_argument(
        "--like",
        choices=TEMPLATES,
        default=TEMPLATES[0],
        help=f"built-in task to start from; default: {TEMPLATES[0]}, which runs as it is",
    )


def _add_run(parser: ArgumentParser) -> None:
    parser.add_argument("run", help="folder of a finished run, its id, RUN_NAME, or latest")
    parser.add_argument("--best", action="store_true", help="use the model of the best round, not the last")


_RUN: dict[str, Callable[[argparse.Namespace, TextIO], None]] = {
    "export": _export,
    "predict": _predict,
    "evaluate": _evaluate,
    "check-task": _check_task,
    "new-task": _new_task,
}
COMMANDS = {
    "export": Command("write a run's model as a file for other programs", _add_export_arguments, _SETTINGS),
    "predict": Command("apply a run's model to files", _add_predict_arguments, _SETTINGS),
    "evaluate": Command("measure a run's model on a test set", _add_evaluate_arguments, _SETTINGS),
    "check-task": Command(
        "check a task of your own, and measure what a round costs", _add_check_task_arguments
    ),
    "new-task": Command(
        "write a task of your own and its test into this folder, to start from", _add_new_task_arguments
    ),
}
