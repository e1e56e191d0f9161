"""`python -m client export RUN`: writes a run's model for other programs."""

import argparse
import io
import tarfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from client.saved_run import SavedRun, find_run
from fedmx.files import atomic_write, disk_errors

# Formats that are copies of a run's own files, and their suffixes.
_COPIED = {"params": ".params", "npz": ".npz"}


def run(arguments: argparse.Namespace, output: TextIO) -> None:
    """Write the model in the wanted format.

    Raises:
        SettingsError: an argument is not valid, or the network has no such format.
        DataError: a file cannot be read or written.
    """
    saved = find_run(arguments.run, is_best=arguments.best)
    name = f"{saved.folder.name}-best" if arguments.best else saved.folder.name
    suffix = _COPIED.get(arguments.format)
    if suffix:
        files = {suffix: _read_copied(saved, suffix)}
    else:
        # MXNet takes seconds to import.
        from client import graph_files  # noqa: PLC0415 - see above

        files = graph_files.build(saved, arguments.format, arguments.input)
    named = dict(zip(_choose_paths(list(files), arguments.output, name), files.values(), strict=True))
    if saved.schema is not None:
        # The model is of no use without it: inputs are scaled and numbered by it.
        prefix = _choose_prefix(len(files), arguments.output, name)
        named[prefix.with_name(f"{prefix.name}-schema.json")] = saved.schema.to_json().encode()
    if arguments.tar:
        output.buffer.write(_pack(named))
    else:
        _write(named, output)


def _read_copied(saved: SavedRun, suffix: str) -> bytes:
    """Return the content of a run's own file.

    Raises:
        DataError: it is missing, damaged, or has other arrays than the run's record says.
    """
    model = saved.read_arrays()
    path = saved.find_file(suffix)
    with disk_errors(path, reads=True):
        data = path.read_bytes()
    if suffix == ".params":
        # MXNet takes seconds to import.
        from client import params_file  # noqa: PLC0415 - see above

        params_file.check(path, data, model)
    return data


def _write(files: Mapping[Path, bytes], output: TextIO) -> None:
    for path, data in files.items():
        with atomic_write(path) as file:
            file.write(data)
        print(f"wrote {path}", file=output)


def _choose_paths(ends: list[str], output: Path | None, name: str) -> list[Path]:
    """Return the path of each file; several files have names that begin with `output`.

    Args:
        ends: the suffix of each file.
        output: value of `--output`, if it is given.
        name: the beginning of the names otherwise.
    """
    if output is None:
        return [Path(f"{name}{end}") for end in ends]
    if len(ends) == 1:
        return [output]
    return [output.with_name(f"{output.name}{end}") for end in ends]


def _choose_prefix(count: int, output: Path | None, name: str) -> Path:
    if output is None:
        return Path(name)
    return output.with_suffix("") if count == 1 else output


def _pack(files: Mapping[Path, bytes]) -> bytes:
    """Return a tar archive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path, data in files.items():
            member = tarfile.TarInfo(str(path))
            member.size = len(data)
            member.mtime = int(time.time())
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()
