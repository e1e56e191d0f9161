"""The confusion matrix of a network: counted, as text, and as a picture."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.batches import Batches
from client.classifier import Classifier
from client.mx import gluon
from client.png import draw_digits, encode

Counts = NDArray[np.int64]

# More classes do not fit on a line; the largest entries are listed instead.
_MOST_COLUMNS = 30
_LISTED = 20
_CELL, _SMALLEST_CELL, _PICTURE = 48, 4, 1440
_MARGIN = 40
_BLUE = np.array([8, 48, 107])


def count(net: gluon.Block, classifier: Classifier, data: Batches, batch_size: int) -> Counts | None:
    """Count the examples by label and predicted class; in a segmentation, the pixels.

    Args:
        net: the network, on the device of the data.
        classifier: interprets the outputs.
        data: the examples and their labels.
        batch_size: number of examples per batch.

    Returns:
        int64 (classes, classes), labels along the first axis; None if outputs or labels are not classes.
    """
    counts: Counts | None = None
    for batch in data.batches(batch_size):
        probabilities = classifier.find_probabilities(net(*batch.inputs))
        labels = batch.labels.asnumpy().reshape(-1)
        if probabilities is None or labels.size != probabilities.size // probabilities.shape[1]:
            return None
        classes = probabilities.shape[1]
        numbers = classifier.find_numbers(labels)
        if (numbers < 0).any() or (numbers >= classes).any() or (numbers != np.floor(numbers)).any():
            return None
        predicted = probabilities.argmax(axis=1).reshape(-1)
        places = numbers.astype(np.int64) * classes + predicted
        found = np.bincount(places, minlength=classes**2).reshape(classes, classes)
        counts = found if counts is None else counts + found
    return counts


def as_text(counts: Counts, names: Sequence[str]) -> Iterator[str]:
    """Yield the lines of a table with recall and precision; for many classes, list the most frequent errors.

    Args:
        counts: from `count`.
        names: names of the classes.
    """
    if len(names) > _MOST_COLUMNS:
        yield from _list_errors(counts, names)
        return
    yield "confusion matrix: labels down, predictions across"
    width = max(len(name) for name in (*names, "recall", str(counts.max()))) + 1
    first = max(len(name) for name in (*names, "precision"))
    yield " " * first + "".join(f"{name:>{width}}" for name in (*names, "recall"))
    for number, name in enumerate(names):
        cells = [*map(str, counts[number]), _share(counts[number, number], counts[number].sum())]
        yield f"{name:<{first}}" + "".join(f"{cell:>{width}}" for cell in cells)
    shares = [_share(counts[i, i], counts[:, i].sum()) for i in range(len(names))]
    yield f"{'precision':<{first}}" + "".join(f"{share:>{width}}" for share in shares)


def as_picture(counts: Counts) -> bytes:
    """Draw the matrix as a PNG file: darker for a larger share of a label's examples."""
    classes = len(counts)
    cell = min(_CELL, max(_SMALLEST_CELL, _PICTURE // classes))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    colors = 255 - shares[..., None] * (255 - _BLUE)
    grid = np.kron(colors, np.ones((cell, cell, 1)))
    # Lines between the cells.
    grid[::cell] = grid[:, ::cell] = 200
    picture = np.full((classes * cell + _MARGIN, classes * cell + _MARGIN, 3), 255.0)
    picture[_MARGIN:, _MARGIN:] = grid
    if cell == _CELL:
        _write_numbers(picture, counts, shares)
    return encode(picture.astype(np.uint8))


def _write_numbers(picture: NDArray[Any], counts: Counts, shares: NDArray[Any]) -> None:
    middle = _CELL // 2
    for number in range(len(counts)):
        place = _MARGIN + number * _CELL + middle
        draw_digits(picture, number, (_MARGIN // 2, place))
        draw_digits(picture, number, (place, _MARGIN // 2))
        for other in range(len(counts)):
            column = _MARGIN + other * _CELL + middle
            is_dark = shares[number, other] > 1 / 2
            draw_digits(picture, int(counts[number, other]), (place, column), 255 if is_dark else 0, _CELL)


def _list_errors(counts: Counts, names: Sequence[str]) -> Iterator[str]:
    yield f"{len(names)} classes; the most frequent errors:"
    errors = counts * (1 - np.eye(len(counts), dtype=np.int64))
    for place in np.argsort(-errors, axis=None, kind="stable")[:_LISTED]:
        label, predicted = divmod(int(place), len(counts))
        if errors[label, predicted]:
            yield f"label {names[label]} predicted as {names[predicted]}: {errors[label, predicted]}"


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.3f}" if whole else "-"
