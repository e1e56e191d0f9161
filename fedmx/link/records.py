"""Metric and config records <-> their wire form."""

from collections.abc import Mapping
from typing import Any

from flwr.app import ConfigRecord, MetricRecord

from fedmx.errors import ProtocolError
from fedmx.link import link_pb2 as pb

# Python type, field of Entry for one value, field for a list; in this order, as a bool is an int to Python.
_KINDS = (
    (bool, "boolean", "booleans"),
    (int, "integer", "integers"),
    (float, "real", "reals"),
    (str, "text", "texts"),
    (bytes, "octets", "octets_list"),
)


def encode_record(name: str, record: Mapping[str, Any]) -> pb.Record:
    """Encode a metric or config record.

    Raises:
        ValueError: an integer needs more than 64 bits, or a text is no Unicode.
    """
    return pb.Record(name=name, entries=[_encode_entry(key, value) for key, value in record.items()])


def decode_config(record: pb.Record) -> ConfigRecord:
    """Read a config record.

    Raises:
        ProtocolError: it holds what Flower does not take.
    """
    return ConfigRecord(_decode_entries(record))


def decode_metrics(record: pb.Record) -> MetricRecord:
    """Read a metric record.

    Raises:
        ProtocolError: it holds what Flower does not take, such as a text.
    """
    try:
        return MetricRecord(_decode_entries(record))
    except TypeError as error:
        raise ProtocolError(
            f"metric record {record.name[:100]!r} that Flower does not take: {error}"
        ) from None


def _encode_entry(key: str, value: Any) -> pb.Entry:
    items = value if isinstance(value, list) else [value]
    for kind, one, many in _KINDS:
        if all(isinstance(item, kind) for item in items):
            if not isinstance(value, list):
                return pb.Entry(key=key, **{one: value})
            entry = pb.Entry(key=key)
            getattr(entry, many).items.extend(value)
            getattr(entry, many).SetInParent()  # an empty list is a value too
            return entry
    raise ValueError(f"record value {key!r} of type {type(value).__name__} cannot be sent")


def _decode_entries(record: pb.Record) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for entry in record.entries:
        name = entry.WhichOneof("value")
        if name is None or entry.key in values:
            raise ProtocolError(f"entry {entry.key[:100]!r} without a value, or twice")
        value = getattr(entry, name)
        values[entry.key] = list(value.items) if hasattr(value, "items") else value
    return values
