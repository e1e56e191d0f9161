"""Encodes and decodes metric and config records, and limits what a message holds beside its arrays' bytes."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from flwr.app import ConfigRecord, MetricRecord

from fedmx.errors import ProtocolError
from fedmx.log import printable
from fedmx.protocol import link_pb2 as pb

# Of a record, an entry or an array, and of the header's request id, message type and group id.
LONGEST_NAME = 256
# Of an array: BLAKE3.
DIGEST_BYTES = 32
# Of one message, in all its records. Even an empty array costs a kilobyte of memory.
MAX_RECORDS = 1_024
MAX_ARRAYS = 16_384
MAX_ENTRIES = 16_384
MAX_ITEMS = 65_536

# Python type, field of Entry for one value, field for a list. The order matters: a bool is an int in Python.
_KINDS = (
    (bool, "boolean", "booleans"),
    (int, "integer", "integers"),
    (float, "real", "reals"),
    (str, "text", "texts"),
    (bytes, "octets", "octets_list"),
)
_FIELDS = {kind: one for kind, one, _ in _KINDS}


def find_problem(header: pb.Header) -> str | None:
    """Return what in a header is beyond the limits, or None.

    Counts are checked first, because each access to an entry creates a Python object.
    """
    kinds = (header.array_records, header.metric_records, header.config_records)
    records = len(header.array_records) + len(header.metric_records) + len(header.config_records)
    if records > MAX_RECORDS:
        return f"{records} records; at most {MAX_RECORDS}"
    if (arrays := sum(len(record.arrays) for record in header.array_records)) > MAX_ARRAYS:
        return f"{arrays} arrays; at most {MAX_ARRAYS}"
    if records and header.HasField("error"):
        return "an error beside records"
    for name in (header.request_id, header.message_type, header.group_id):
        if problem := _find_problem_in_name(name):
            return problem
    digests = [head.digest for record in header.array_records for head in record.arrays]
    if not all(len(digest) in (0, DIGEST_BYTES) for digest in digests):
        return f"an array's digest that does not have {DIGEST_BYTES} bytes"
    named = [[record.name for kind in kinds for record in kind]]
    named += [[head.name for head in record.arrays] for record in header.array_records]
    return _find_problem_in_names(named, "arrays or records") or find_problem_in_records(
        [*header.metric_records, *header.config_records]
    )


def find_problem_in_records(records: Sequence[pb.Record]) -> str | None:
    """Return what in metric and config records is beyond the limits, or None."""
    if (count := sum(len(record.entries) for record in records)) > MAX_ENTRIES:
        return f"{count} entries; at most {MAX_ENTRIES}"
    if (count := sum(_count_items(entry) for record in records for entry in record.entries)) > MAX_ITEMS:
        return f"{count} values in lists; at most {MAX_ITEMS}"
    return _find_problem_in_names(([entry.key for entry in record.entries] for record in records), "entries")


def encode_record(name: str, record: Mapping[str, Any]) -> pb.Record:
    """Encode a metric or config record.

    Raises:
        ValueError: an integer needs more than 64 bits, or a text is not valid Unicode.
    """
    return pb.Record(name=name, entries=[_encode_entry(key, value) for key, value in record.items()])


def decode_config(record: pb.Record) -> ConfigRecord:
    """Decode a config record.

    Raises:
        ProtocolError: an entry has no value.
    """
    return ConfigRecord(_decode_entries(record))


def decode_metrics(record: pb.Record) -> MetricRecord:
    """Decode a metric record.

    Raises:
        ProtocolError: Flower does not accept one of its values, such as a text.
    """
    try:
        return MetricRecord(_decode_entries(record))
    except TypeError as error:
        raise ProtocolError(f"metric record {record.name!r} is not valid for Flower: {error}") from None


def _find_problem_in_names(named: Iterable[list[str]], kinds: str) -> str | None:
    """Return what is wrong with names; those of one list must differ."""
    for names in named:
        for name in names:
            if problem := _find_problem_in_name(name):
                return problem
        if len(set(names)) != len(names):
            return f"two {kinds} with the same name"
    return None


def _find_problem_in_name(name: str) -> str | None:
    if len(name) <= LONGEST_NAME and name.isprintable():
        return None
    return f"the name {printable(name, 80)!r}; expected at most {LONGEST_NAME} printable characters"


def _count_items(entry: pb.Entry) -> int:
    value = getattr(entry, entry.WhichOneof("value") or "key")
    return len(value.items) if hasattr(value, "items") else 0


def _encode_entry(key: str, value: Any) -> pb.Entry:
    # Of the usual values, the exact type is known: every message has dozens.
    if (field := _FIELDS.get(type(value))) is not None:
        return pb.Entry(key=key, **{field: value})
    items = value if isinstance(value, list) else [value]
    for kind, one, many in _KINDS:
        if all(isinstance(item, kind) for item in items):
            if not isinstance(value, list):
                return pb.Entry(key=key, **{one: value})
            entry = pb.Entry(key=key)
            getattr(entry, many).items.extend(value)
            # Without it, an empty list would be sent as no value at all.
            getattr(entry, many).SetInParent()
            return entry
    raise ValueError(f"record value {key!r} of type {type(value).__name__} cannot be sent")


def _decode_entries(record: pb.Record) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for entry in record.entries:
        name = entry.WhichOneof("value")
        if name is None:
            raise ProtocolError(f"entry {entry.key!r} has no value")
        value = getattr(entry, name)
        values[entry.key] = list(value.items) if hasattr(value, "items") else value
    return values
