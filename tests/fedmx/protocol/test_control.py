"""Every control frame is parsed as it was built, and refused with a reason."""

from dataclasses import fields

import pytest
from flwr.app import ConfigRecord
from hypothesis import given
from hypothesis import strategies as st

from fedmx import __version__
from fedmx.errors import FederationError, ProtocolError, RefusedError, SettingsError, TrainingFailedError
from fedmx.protocol import control, encode
from fedmx.protocol import link_pb2 as pb
from fedmx.protocol.control import Hello, Holding, Welcome
from fedmx.protocol.records import DIGEST_BYTES, MAX_ARRAYS

HELLO = {"name": "north", "is_name_given": True, "max_model_bytes": 2**40}
EXPECTED = (
    f"server protocol version {control.PROTOCOL_VERSION} (fedmx {__version__}):"
    " expected the same protocol version on both sides"
)


def parse(frame: bytes) -> pb.Frame:
    return encode.parse_frame(frame)


@given(st.builds(Hello, name=st.sampled_from(["a", "a" * 128]), max_model_bytes=st.integers(0, 2**64 - 1)))
def test_a_hello_survives_the_round_trip(hello: Hello) -> None:
    frame = control.build_hello(hello)
    assert control.parse_hello(parse(frame)) == hello
    assert len(frame) <= control.MAX_HELLO_BYTES


def test_a_hello_has_the_fields_of_the_wire_contract() -> None:
    assert {each.name for each in fields(Hello)} == set(pb.Hello.DESCRIPTOR.fields_by_name)


def test_the_numbers_of_both_versions_never_change() -> None:
    # Other releases must be able to refuse this one by name.
    numbers = {name: field.number for name, field in pb.Hello.DESCRIPTOR.fields_by_name.items()}
    assert (numbers["package_version"], numbers["protocol_version"]) == (1, 6)


def test_each_hello_has_an_instance_token_of_its_own() -> None:
    tokens = {Hello("north", is_name_given=True, max_model_bytes=1).instance for _ in range(9)}
    assert len(tokens) == 9


# The exact wording of every refusal of a hello.
@pytest.mark.parametrize(
    ("changes", "error", "reason"),
    [
        (
            {"protocol_version": 0, "package_version": "0.0.9"},
            RefusedError,
            f"client protocol version 0 (fedmx 0.0.9), {EXPECTED}",
        ),
        (
            {"protocol_version": 99, "package_version": "\n" + "9" * 60},
            RefusedError,
            rf"client protocol version 99 (fedmx \n{'9' * 35}...), {EXPECTED}",
        ),
        ({"instance": ""}, ProtocolError, "a hello without an instance token"),
        ({"instance": "x" * 65}, ProtocolError, "a hello without an instance token"),
        (
            {"name": "a\nb"},
            RefusedError,
            r"node name 'a\\nb': expected at most 128 letters, digits, '.', '_' or '-'",
        ),
    ],
)
def test_a_hello_is_refused_with_a_reason(
    changes: dict[str, object], error: type[FederationError], reason: str
) -> None:
    frame = parse(control.build_hello(Hello(**{**HELLO, **changes})))  # type: ignore[arg-type]
    with pytest.raises(error) as caught:
        control.parse_hello(frame)
    assert str(caught.value) == reason


def test_another_package_version_is_accepted() -> None:
    hello = Hello(**HELLO, package_version="9.9.9")  # type: ignore[arg-type]
    parsed = control.parse_hello(parse(control.build_hello(hello)))
    assert parsed.log_fields()["version"] == "9.9.9"


@pytest.mark.parametrize("frame", [None, pb.Frame(ready=pb.Ready())])
def test_the_first_frame_must_be_a_hello(frame: pb.Frame | None) -> None:
    with pytest.raises(ProtocolError, match=r"^the first frame is not a hello$"):
        control.parse_hello(frame)


def test_a_welcome_survives_the_round_trip() -> None:
    welcome = Welcome("north", 2**63, 2**40)
    assert control.parse_welcome(parse(control.build_welcome(welcome)).welcome) == welcome


def test_a_description_survives_the_round_trip() -> None:
    description = ConfigRecord({"task": "mnist", "classes": 10, "arrays": ["a", "b"]})
    ready = control.parse_ready(parse(control.build_ready(description, "gpu(0)")).ready)
    assert ready == control.Ready(description, "gpu(0)")
    assert control.parse_ready(parse(control.build_ready(description)).ready).device == ""


def test_a_node_shortens_a_long_device_which_a_server_refuses() -> None:
    many = ", ".join(f"gpu({number})" for number in range(16))
    ready = control.parse_ready(parse(control.build_ready(ConfigRecord(), many)).ready)
    assert ready.device == many[: control.LONGEST_DEVICE - 3] + "..."
    for device in (many, "cpu\n"):
        with pytest.raises(ProtocolError, match="device"):
            control.parse_ready(pb.Ready(device=device))


@pytest.mark.parametrize(
    "description",
    [ConfigRecord({"text": "x" * encode.FRAME_BYTES}), ConfigRecord({"\n": 1})],
    ids=["too large", "unprintable"],
)
def test_a_description_beyond_the_limits_is_refused_by_the_node(description: ConfigRecord) -> None:
    with pytest.raises(SettingsError, match=r"^the model's description has "):
        control.build_ready(description)


@pytest.mark.parametrize(
    ("outcome", "error", "exit_code", "reason"),
    [
        (pb.Goodbye.REFUSED, RefusedError, 5, r"the server refused this node: why\n"),
        (pb.Goodbye.FAILED, TrainingFailedError, 4, r"the server reports that the run failed: why\n"),
        (
            pb.Goodbye.OUTCOME_UNSPECIFIED,
            TrainingFailedError,
            4,
            r"the server reports that the run failed: why\n",
        ),
    ],
)
def test_a_goodbye_becomes_the_error_of_the_node(
    outcome: "pb.Goodbye.Outcome", error: type[FederationError], exit_code: int, reason: str
) -> None:
    with pytest.raises(error) as caught:
        control.check_goodbye(parse(control.build_goodbye(outcome, "why\n")).goodbye)
    assert (caught.value.exit_code, str(caught.value)) == (exit_code, reason)


def test_the_goodbye_of_a_finished_run_is_not_an_error_and_has_the_result() -> None:
    goodbye = parse(control.build_goodbye(pb.Goodbye.FINISHED, "", "the result")).goodbye
    control.check_goodbye(goodbye)
    assert goodbye.result == "the result"


def test_what_a_node_has_survives_the_round_trip() -> None:
    holding = Holding(7, frozenset({"a" * 64, "b"}), frozenset({bytes(DIGEST_BYTES), b"d" * DIGEST_BYTES}))
    assert control.parse_holding(parse(control.build_holding(holding)).holding) == holding


@pytest.mark.parametrize(
    "holding",
    [
        pb.Holding(digests=[b"short"]),
        pb.Holding(digests=[number.to_bytes(DIGEST_BYTES, "big") for number in range(MAX_ARRAYS + 1)]),
        pb.Holding(request_ids=[str(number) for number in range(65)]),
        pb.Holding(request_ids=["x" * 129]),
    ],
    ids=["a short digest", "too many digests", "too many requests", "a long request id"],
)
def test_a_node_that_has_more_than_it_can_have_is_refused(holding: pb.Holding) -> None:
    with pytest.raises(ProtocolError, match="expected at most"):
        control.parse_holding(holding)
