"""A reply with far more arrays than the step needs is not received: the disk holds what nodes may send."""

import dataclasses

import numpy as np
import pytest
from flwr.app import Context, Message

from fedmx.errors import TrainingFailedError
from server import waiting
from tests.server.federation import Federation
from tests.server.nodes import GOOD, NullNode, pack, shift

# float32, of which the others are many times as large.
MODEL = {"0.weight": np.zeros(100, np.float32)}
MOST = 2 * 400
LARGE = np.zeros(MOST + 1, np.uint8)


@pytest.fixture(autouse=True)
def _no_spare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "_SPARE_BYTES", 0)


@dataclasses.dataclass
class Evaluator(NullNode):
    """Replies to an evaluate message with arrays, too."""

    def _evaluate(self, message: Message, context: Context) -> Message:
        reply = super()._evaluate(message, context)
        reply.content["arrays"] = pack({"a": np.zeros(1, np.uint8)})
        return reply


@pytest.mark.parametrize(
    ("bad", "step", "size", "most"),
    [
        (NullNode(lambda _, __: ({"a": LARGE}, GOOD), initial=MODEL), "train", MOST + 1, MOST),
        (Evaluator(initial=MODEL), "evaluate", 1, 0),
    ],
    ids=["train", "evaluate"],
)
def test_a_reply_that_is_too_large_is_rejected_and_its_node_stays(
    federation: Federation, bad: NullNode, step: str, size: int, most: int
) -> None:
    nodes = {"good": NullNode(shift(1.0), initial=MODEL), "bad": bad}
    federation.run(nodes, min_clients=1, num_rounds=2)
    reason = f"a reply with arrays of {size} bytes, expected at most {most}"
    for line in federation.history:
        assert [(one["name"], one["step"], one["reason"]) for one in line["rejected"]] == [
            ("bad", step, reason)
        ]
    assert bad.outcome is None


def test_initial_arrays_are_no_larger_than_the_node_described_them(federation: Federation) -> None:
    described = NullNode(initial=MODEL).describe()["arrays"]
    node = NullNode(initial={"0.weight": LARGE}, description={"arrays": described})
    with pytest.raises(TrainingFailedError, match=f"arrays of {MOST + 1} bytes, expected at most {MOST}"):
        federation.run({"node": node})


def test_a_large_model_that_is_expected_is_received(federation: Federation) -> None:
    node = NullNode(shift(1.0), initial={"0.weight": np.zeros(50_000, np.float32)})
    federation.run({"node": node})
    assert federation.model["0.weight"].tolist() == [1.0] * 50_000
