"""Rows of a site: ages, sexes and answers, on which the sites have to agree before a model can be built."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.mx import gluon
from fedmx.errors import DataError
from fedmx.schema import Schema

Sets = tuple[NDArray[np.float32], NDArray[np.int64]]


def columns(data_dir: Path) -> dict[str, NDArray[Any]]:
    return _read(data_dir)


def build_model(schema: Schema) -> gluon.HybridBlock:
    return gluon.nn.Dense(len(schema["answer"].values))


def load_data(data_dir: Path, schema: Schema, options: dict[str, bool]) -> tuple[Sets, Sets]:
    rows = _read(data_dir)
    ages = (rows["age"] - schema["age"].mean) / schema["age"].std
    sexes = rows["sex"][:, None] == np.array(schema["sex"].values)
    answers = schema["answer"].values
    known = np.isin(rows["answer"], answers)
    if options.get("keep_rare") and not known.all():
        first = int(known.argmin())
        raise DataError(f"row {first + 1} has {rows['answer'][first]}; expected a common answer")
    examples = np.concatenate([ages[:, None], sexes], axis=1).astype(np.float32)[known]
    labels = np.array([answers.index(answer) for answer in rows["answer"][known]])
    return (examples, labels), (examples, labels)


def _read(data_dir: Path) -> dict[str, NDArray[Any]]:
    path = data_dir / "rows.csv"
    names, *rows = [line.split(",") for line in path.read_text().splitlines()]
    for number, row in enumerate(rows, start=2):
        if len(row) != len(names):
            raise DataError(f"{path}:{number}: {len(row)} fields; expected {len(names)}")
    found: dict[str, NDArray[Any]] = dict(zip(names, np.array(rows).T, strict=True))
    return {name: values.astype(float) if name == "age" else values for name, values in found.items()}
