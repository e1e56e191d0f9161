"""Random, damaged, lost and reordered frames are refused or decoded, without side effects."""

import contextlib

from flwr.app import RecordDict
from hypothesis import given
from hypothesis import strategies as st

from fedmx.errors import ProtocolError
from fedmx.protocol import link_pb2 as pb
from tests.fedmx.protocol.sending import MIB
from tests.fedmx.protocol.wire import contents, encode, feed, open_assembler


def read(frames: list[bytes]) -> None:
    """Decode frames until one is refused; any other error than a ProtocolError fails the test."""
    with contextlib.suppress(ProtocolError):
        feed(open_assembler(MIB), frames)


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=40), st.builds(lambda b: pb.Frame(chunk=b).SerializeToString(), st.binary())
        )
    )
)
def test_random_bytes_are_refused_without_side_effects(frames: list[bytes]) -> None:
    read([pb.Frame(begin=pb.Begin(header_bytes=20, array_bytes=20)).SerializeToString(), *frames])


@given(contents, st.data())
def test_a_damaged_message_is_refused_or_decoded_without_side_effects(
    content: RecordDict, data: st.DataObject
) -> None:
    frames = list(encode(content).frames())
    for _ in range(data.draw(st.integers(1, 3))):
        which = data.draw(st.integers(0, len(frames) - 1))
        damaged = bytearray(frames[which])
        at = data.draw(st.integers(0, len(damaged)))
        damaged[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
        frames[which] = bytes(damaged)
    read(frames)


@given(st.lists(contents, min_size=1, max_size=3), st.data())
def test_frames_lost_doubled_cut_or_out_of_order_are_refused_or_decoded_without_side_effects(
    sent: list[RecordDict], data: st.DataObject
) -> None:
    frames = [frame for content in sent for frame in encode(content).frames()]
    for _ in range(data.draw(st.integers(1, 3))):
        one, other = (data.draw(st.integers(0, len(frames) - 1)) for _ in range(2))
        what = data.draw(st.sampled_from(["lose", "double", "swap", "cut"]))
        if what == "swap":
            frames[one], frames[other] = frames[other], frames[one]
        elif what == "cut":
            frames[one] = frames[one][: data.draw(st.integers(0, len(frames[one])))]
        elif what == "double" or len(frames) == 1:
            frames.insert(other, frames[one])
        else:
            del frames[one]
    read(frames)
