"""Updates that travel in fewer bits: how many bytes, and the same model after a crash."""

import pytest

from fedmx.reduced import DTYPES
from tests.federation.chaos.killing import Kill
from tests.federation.chaos.reference import Plan
from tests.federation.chaos.stage import Stage
from tests.federation.programs import Federation
from tests.small_mnist import write_small_mnist

TINY = {"TASK": "tiny_task"}
# Of float32's bytes.
SHARES = {"float16": 1 / 2, "bfloat16": 1 / 2, "int8": 1 / 4}


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_update_has_a_half_or_a_quarter_of_the_bytes(dtype: str, federation: Federation) -> None:
    data = federation.folder / "mnist"
    write_small_mnist(data)
    code = federation.run(client_settings={"DATA_DIR": data}, NUM_ROUNDS=2, WIRE_DTYPE=dtype)
    assert code == 0, federation.logs
    for node in federation.history[-1]["nodes"]:
        # The model went down whole, once.
        assert node["bytes_up"] / node["bytes_down"] == pytest.approx(SHARES[dtype], rel=0.05)


def test_a_server_that_is_killed_in_a_round_ends_with_the_model_of_an_undisturbed_run(stage: Stage) -> None:
    plan = Plan("fedadam", rounds=3)
    settings = {**plan.settings, "WIRE_DTYPE": "int8"}
    digests = []
    for kill, resume in ((Kill("after", "server.averaging:average", call=2), "auto"), (None, "never")):
        nodes = [stage.start_client(NODE_NAME=name, **TINY) for name in plan.names]
        if kill is not None:
            assert stage.start_server(fault=kill, **settings).wait() == -9, stage.logs
        assert stage.start_server(**{**settings, "RESUME": resume}).wait() == 0, stage.logs
        assert [node.wait() for node in nodes] == [0, 0], stage.logs
        digests.append(stage.facts["model_sha256"])
    assert digests[0] == digests[1]
