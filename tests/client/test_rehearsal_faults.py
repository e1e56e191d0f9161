"""The rehearsal of a round finds mistakes of a task before the node joins, and names them by their line."""

from pathlib import Path

import pytest

from tests.client.given.rehearsals import Start, line_of_fault, message_of

# Exceptions of a round

FAULTS = {
    "AttributeError": """
Net.hybrid_forward = lambda self, F, x: self.head(x.reshape((x.shape[0], -1)))  # FAULT
""",
    "RuntimeError": """
def loss():
    def compute(outputs, labels):
        if autograd.is_recording():
            raise RuntimeError("it is recorded")  # FAULT
        return gluon.loss.SoftmaxCrossEntropyLoss()(outputs, labels)
    return compute
""",
    "KeyError": """
def forward(self, x):
    if autograd.is_training():
        raise KeyError("it is trained")  # FAULT
    return self.head(x)
Plain.forward, build_model = forward, Plain
""",
    "NotImplementedError": """
def forward(self, x):
    self.forwards += 1
    if self.forwards > 9:
        raise NotImplementedError("a second round")  # FAULT
    return self.head(x)
Plain.forward, build_model = forward, Plain
""",
    "ValueError": """
def metrics(outputs, labels):
    if labels.shape[1:]:
        raise ValueError("labels of the test set")  # FAULT
    return {}

def loss():
    return lambda outputs, labels: outputs.sum(axis=1)

load = load_data
def load_data(data_dir):
    train, (examples, labels) = load(data_dir)
    return train, (examples, labels[:, None])
""",
}


@pytest.mark.parametrize("kind", FAULTS)
def test_an_exception_of_a_round_is_named_with_type_and_line(start: Start, kind: str) -> None:
    message = message_of(start, FAULTS[kind])
    assert f" raised {kind}: " in message
    assert message.endswith(f" (their_task.py:{line_of_fault(FAULTS[kind])})")


def test_an_exception_in_another_module_of_the_author_is_named_with_its_line(
    start: Start, tmp_path: Path
) -> None:
    (tmp_path / "their_layers.py").write_text("def forward(self, x):\n    return x.shape[7]\n")
    source = "\nimport their_layers\nPlain.forward, build_model = their_layers.forward, Plain\n"
    assert message_of(start, source).endswith(" (their_layers.py:2)")


def test_an_exception_of_mxnets_background_threads_is_named_with_the_line_of_build_model(
    start: Start,
) -> None:
    source = """
class Function(autograd.Function):
    def forward(self, x):
        return x * 1

    def backward(self, gradient):
        return gradient * (1 / 0)

def build_model():  # FAULT
    return Plain()

Plain.forward = lambda self, x: Function()(self.head(x))
"""
    message = message_of(start, source)
    assert " raised MXNetError: " in message
    assert message.endswith(f" (their_task.py:{line_of_fault(source)})")


def test_an_exception_without_a_line_of_the_task_is_not_blamed_on_the_network(start: Start) -> None:
    # The partial calls numpy directly, so that no frame is the task's.
    message = message_of(start, "\nimport functools, operator\nload_data = operator.itemgetter(0)\n")
    assert message.endswith(" (their_task.py)")


@pytest.mark.parametrize(("size", "place"), [(1, "loss"), (3, "loss"), (1, "metrics()"), (3, "metrics()")])
def test_what_fails_for_batches_of_another_size_is_found(start: Start, size: int, place: str) -> None:
    source = f"""
def check(outputs):
    if len(outputs) == {size}:
        raise ValueError("a batch of this size")  # FAULT

def loss():
    softmax = gluon.loss.SoftmaxCrossEntropyLoss()
    return lambda outputs, labels: ({place == "loss"} and check(outputs)) or softmax(outputs, labels)

def metrics(outputs, labels):
    {place == "metrics()"} and check(outputs)
    return {{}}
"""
    message = message_of(start, source)
    assert f"{place} raised ValueError: a batch of this size" in message
    assert message.endswith(f" (their_task.py:{line_of_fault(source)})")


@pytest.mark.parametrize("condition", ["len(labels) == 3", "labels[0] == 1"])
def test_metrics_whose_names_depend_on_the_batch_are_refused_by_name(start: Start, condition: str) -> None:
    source = f"""
def metrics(outputs, labels):
    return {{"a": labels, "b": labels}} if {condition} else {{"a": labels}}
"""
    assert "metrics() returned b for some batches only" in message_of(start, source)


# Networks that can be neither trained nor sent

FROZEN = """
def build_model():
    net = Net()
    net.collect_params().setattr("grad_req", "null")
    return net
"""


@pytest.mark.parametrize(
    ("source", "count"),
    [
        (FROZEN, 2),
        ("build_model = lambda: gluon.nn.Activation('relu')", 0),
    ],
)
def test_a_network_with_nothing_to_train_is_refused(start: Start, source: str, count: int) -> None:
    assert f"the network has {count} parameters, none of which is trained" in message_of(
        start, f"\n{source}\n"
    )


def test_a_parameter_without_a_structural_name_is_refused_by_name(start: Start) -> None:
    source = """
def build_model():
    net = Net()
    net.hidden = [net.params.get("scale", shape=(1,), init="zeros")]
    return net
"""
    message = message_of(start, source)
    assert "_scale are not attributes of a block; expected self.<name> = self.params.get(...)" in message


def test_a_layer_that_no_batch_reaches_is_refused_by_name_if_its_shape_is_open(start: Start) -> None:
    source = """
def build_model():
    net = Net()
    net.other = gluon.nn.Dense(2)
    return net
"""
    message = message_of(start, source)
    assert "other.weight" in message
    assert "head.weight" not in message
