"""How nodes train: what the server sends with every train and evaluate message.

A new hyperparameter is one field here, and its use in `client/`.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fedmx import parsing
from fedmx.errors import SettingsError
from fedmx.fields import Field, setting

OFF = "off"
# The dtypes in which updates may travel; `fedmx.reduced`, which imports numpy, implements them.
WIRE_DTYPES = ("float16", "bfloat16", "int8")

# The names under which MXNet 1.9.1 registers its optimizers; the server has no MXNet to ask.
OPTIMIZERS = (
    "adadelta",
    "adagrad",
    "adam",
    "adamax",
    "ccsgd",
    "dcasgd",
    "ftml",
    "ftrl",
    "groupadagrad",
    "lamb",
    "lars",
    "lbsgd",
    "nadam",
    "nag",
    "rmsprop",
    "sgd",
    "sgld",
    "signum",
)


@dataclass(frozen=True)
class Hyperparameters:
    """How a node trains in a round."""

    local_epochs: int = setting(
        2, parsing.integer(at_least=1), "epochs that a node trains in a round", shapes_model=True
    )
    batch_size: int = setting(100, parsing.integer(at_least=1), "examples per step", shapes_model=True)
    learning_rate: float = setting(
        0.05,
        parsing.float32(parsing.number(above=0)),
        "learning rate of the clients' optimizer",
        shapes_model=True,
    )
    momentum: float = setting(
        0.9,
        parsing.float32(parsing.number(at_least=0, below=1)),
        "momentum of the clients' optimizer, where it has one",
        shapes_model=True,
    )
    proximal_mu: float = setting(
        0.0,
        parsing.float32(parsing.number(at_least=0)),
        "weight of FedProx's proximal term; 0: none",
        shapes_model=True,
    )
    optimizer: str = setting(
        "sgd",
        parsing.known(OPTIMIZERS, "an optimizer of MXNet"),
        "clients' optimizer, by MXNet's name: sgd, nag, adam, rmsprop, ftml and others",
        shapes_model=True,
    )
    optimizer_args: Mapping[str, object] = setting(
        {}, parsing.json_object, "further arguments of the optimizer, as a JSON object", shapes_model=True
    )
    weight_decay: float = setting(
        0.0,
        parsing.float32(parsing.number(at_least=0)),
        "weight decay of the clients' optimizer",
        shapes_model=True,
    )
    clip_gradient: float = setting(
        0.0,
        parsing.float32(parsing.number(at_least=0)),
        "largest absolute value of each element of a gradient; 0: no limit",
        shapes_model=True,
    )
    wire_dtype: str = setting(
        OFF,
        parsing.choice(OFF, *WIRE_DTYPES),
        "dtype in which updates travel, rounded at random: float16, bfloat16 or int8; off: their own",
        shapes_model=True,
    )
    task_options: Mapping[str, object] = setting(
        {}, parsing.json_object, "options that the task reads, as a JSON object", shapes_model=True
    )

    def to_config(self) -> dict[str, int | float | str]:
        """Return the entries of a message's config."""
        return {
            _key(field): _to_wire(getattr(self, field.name)) for field in dataclasses.fields(Hyperparameters)
        }

    @staticmethod
    def from_config(config: Mapping[str, object]) -> "Hyperparameters":
        """Parse a message's config, which may hold other entries as well.

        It came over the wire, so each value is checked by the rules of its setting.

        Raises:
            SettingsError: a value is missing, or is not valid.
        """
        fields = dataclasses.fields(Hyperparameters)
        return Hyperparameters(**{field.name: _parse(field, config.get(_key(field))) for field in fields})


def _key(field: Field) -> str:
    return field.name.replace("_", "-")


def _to_wire(value: Any) -> int | float | str:
    wired: int | float | str = json.dumps(value) if isinstance(value, Mapping) else value
    return wired


def _parse(field: Field, value: object) -> Any:
    # JSON objects travel as text: a message's config has no tables.
    kind = str if field.type == Mapping[str, object] else field.type
    accepted = (int, float) if kind is float else (kind,)
    # Not isinstance: True is an int, too.
    if type(value) not in accepted:
        expected = getattr(kind, "__name__", kind)
        raise SettingsError(f"the message's config has {_key(field)}={value!r}: expected {expected}")
    try:
        return field.metadata["parse"](str(value))
    except ValueError as error:
        raise SettingsError(f"the message's config has {_key(field)}={value!r}: {error}") from None
