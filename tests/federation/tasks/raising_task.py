"""A task whose loss raises, as a user's mistake would."""

from tests.federation.tasks.tiny_task import build_model, load_data

__all__ = ["build_model", "load_data", "loss"]


def loss() -> object:
    return _raise


def _raise(*_: object) -> None:
    message = "the columns do not fit"
    raise RuntimeError(message)
