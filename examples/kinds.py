"""The kinds of scripts, and the settings of a federated run that corresponds to each script."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """A folder of this package: `plain.py`, `task.py` and their data.

    Attributes:
        title: title of the table's row.
        metric: the number of the script's `evaluate` that is compared; empty if none is.
        trivial: its value for a model that has learned nothing, such as one that guesses.
        settings: settings of a federated run, whose epochs add up to the script's.
        quick: settings that differ in a run that takes seconds and shows that the model learns.
        is_error: whether a smaller value of the metric is better.
    """

    title: str
    metric: str
    trivial: float
    settings: Mapping[str, str | float]
    quick: Mapping[str, str | float]
    is_error: bool = False

    def is_better(self, value: float, other: float) -> bool:
        """Whether a value of the metric is better than another one."""
        return value < other if self.is_error else value > other


def _run(
    rounds: int, epochs: int, batch_size: int, rate: float, **others: str | float
) -> dict[str, str | float]:
    sizes = {"NUM_ROUNDS": rounds, "LOCAL_EPOCHS": epochs, "BATCH_SIZE": batch_size, "LEARNING_RATE": rate}
    return {**sizes, **others}


def _rounds(rounds: int) -> dict[str, str | float]:
    return {"NUM_ROUNDS": rounds}


KINDS = {
    "regression": Kind(
        "tabular regression with log-RMSE",
        "log_rmse",
        0.54,
        _run(12, 2, 50, 0.005, OPTIMIZER="adam", WEIGHT_DECAY=1e-4),
        _rounds(3),
        is_error=True,
    ),
    "resnet": Kind(
        "ResNet on 32 x 32 images with augmentation, NAG and a step schedule",
        "accuracy",
        0.1,
        _run(8, 1, 50, 0.02, OPTIMIZER="nag", WEIGHT_DECAY=5e-4, LR_SCHEDULE="step:5:0.1"),
        _rounds(3),
    ),
    "detection": Kind(
        "detection with mAP",
        "map",
        0.0,
        _run(4, 2, 20, 0.003),
        _rounds(2),
    ),
    "segmentation": Kind(
        "segmentation with an auxiliary head and mIoU",
        "miou",
        0.21,
        _run(6, 2, 20, 0.005, OPTIMIZER="adam"),
        _rounds(2),
    ),
    "fine_tuning": Kind(
        "fine-tuning of a model-zoo network from a weights file",
        "accuracy",
        0.13,
        _run(6, 2, 50, 0.01, OPTIMIZER="adam"),
        _rounds(2),
    ),
    "sentiment": Kind(
        "sentiment with two inputs and buckets",
        "accuracy",
        0.52,
        _run(8, 1, 25, 0.005),
        _rounds(2),
    ),
    "matrix_factorization": Kind(
        "matrix factorization with sparse gradients",
        "rmse",
        1.06,
        _run(24, 1, 200, 0.01),
        _rounds(12),
        is_error=True,
    ),
    "ranking": Kind(
        "ranking with new negatives at every access",
        "hit_rate",
        0.21,
        _run(8, 2, 100, 0.01, OPTIMIZER="adam"),
        _rounds(3),
    ),
    "vae": Kind(
        "variational autoencoder",
        "loss",
        50.9,
        _run(10, 2, 50, 0.002, OPTIMIZER="adam"),
        _rounds(3),
        is_error=True,
    ),
    "dcgan": Kind(
        "DCGAN: two networks, two trainers",
        "",
        0.0,
        _run(3, 2, 25, 0.001),
        _rounds(2),
    ),
    "metric_learning": Kind(
        "metric learning with balanced batches",
        "recall_at_1",
        0.31,
        _run(10, 2, 64, 0.003),
        _rounds(3),
    ),
    "time_series": Kind(
        "probabilistic time series with an endless stream of windows",
        "crps",
        4.69,
        _run(6, 2, 50, 0.003),
        _rounds(2),
        is_error=True,
    ),
    "multi_label": Kind(
        "multi-label with positive weights and AUC",
        "auc",
        0.5,
        _run(5, 3, 50, 0.001, OPTIMIZER="rmsprop"),
        _rounds(2),
    ),
    "word_embeddings": Kind(
        "word embeddings from a stream",
        "precision_at_5",
        0.07,
        _run(12, 1, 500, 0.01),
        _rounds(4),
    ),
    "gradient_accumulation": Kind(
        "gradient accumulation",
        "accuracy",
        0.13,
        _run(4, 2, 20, 0.1),
        _rounds(2),
    ),
}

QUICK = (
    "regression",
    "detection",
    "sentiment",
    "matrix_factorization",
    "ranking",
    "dcgan",
    "metric_learning",
    "time_series",
    "multi_label",
    "word_embeddings",
)
"""Ten kinds whose quick runs take two minutes together."""
