"""Real runs in a folder, and `python -m server runs` on them."""

from collections.abc import Callable

import pytest

from fedmx.errors import TooFewNodesError
from server.__main__ import main
from tests.server.federation import Federation
from tests.server.nodes import Config, Metrics, NullNode, Values

Run = Callable[..., str]


def improve(by: float) -> Callable[[Values, Config], Metrics]:
    """Return an evaluation whose accuracy rises and whose loss falls."""
    asked = iter(range(1, 1000))

    def evaluate(_: Values, __: Config) -> Metrics:
        number = next(asked)
        return {"loss": 2.0 - by * number, "accuracy": by * number, "num-examples": 10}

    return evaluate


def train(federation: Federation, by: float, **chosen: object) -> str:
    nodes = {f"n{number}": NullNode(evaluate=improve(by)) for number in range(2)}
    federation.run(nodes, **chosen)
    return federation.folder.resolve().name


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Federation:
    return Federation(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def runs(federation: Federation) -> list[str]:
    """Two finished runs that differ, and one that no node joined, which is the newest."""
    ids = [
        train(
            federation, 0.1, num_rounds=4, run_name="first try", run_tags=("mlp", "iid"), learning_rate=0.5
        ),
        train(federation, 0.2, num_rounds=3, run_notes="two\nlines"),
    ]
    with pytest.raises(TooFewNodesError):
        federation.run({}, num_partitions=0, min_clients=1, client_wait_timeout=0.1)
    return [*ids, federation.folder.resolve().name]


@pytest.fixture
def run(federation: Federation, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function that carries out a command and returns what it printed."""
    monkeypatch.setenv("RUNS_DIR", str(federation.runs_dir))

    def carry_out(*arguments: str) -> str:
        main(["runs", *arguments])
        return capsys.readouterr().out

    return carry_out
