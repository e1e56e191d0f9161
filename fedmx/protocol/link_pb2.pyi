from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Frame(_message.Message):
    __slots__ = ("hello", "welcome", "ready", "begin", "chunk", "goodbye", "withdraw", "alive", "holding", "repeat", "missing", "go")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    BEGIN_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    GOODBYE_FIELD_NUMBER: _ClassVar[int]
    WITHDRAW_FIELD_NUMBER: _ClassVar[int]
    ALIVE_FIELD_NUMBER: _ClassVar[int]
    HOLDING_FIELD_NUMBER: _ClassVar[int]
    REPEAT_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    GO_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    welcome: Welcome
    ready: Ready
    begin: Begin
    chunk: bytes
    goodbye: Goodbye
    withdraw: Withdraw
    alive: Alive
    holding: Holding
    repeat: Repeat
    missing: Missing
    go: Go
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., welcome: _Optional[_Union[Welcome, _Mapping]] = ..., ready: _Optional[_Union[Ready, _Mapping]] = ..., begin: _Optional[_Union[Begin, _Mapping]] = ..., chunk: _Optional[bytes] = ..., goodbye: _Optional[_Union[Goodbye, _Mapping]] = ..., withdraw: _Optional[_Union[Withdraw, _Mapping]] = ..., alive: _Optional[_Union[Alive, _Mapping]] = ..., holding: _Optional[_Union[Holding, _Mapping]] = ..., repeat: _Optional[_Union[Repeat, _Mapping]] = ..., missing: _Optional[_Union[Missing, _Mapping]] = ..., go: _Optional[_Union[Go, _Mapping]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("package_version", "name", "is_name_given", "instance", "max_model_bytes", "protocol_version")
    PACKAGE_VERSION_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    IS_NAME_GIVEN_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    MAX_MODEL_BYTES_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    package_version: str
    name: str
    is_name_given: bool
    instance: str
    max_model_bytes: int
    protocol_version: int
    def __init__(self, package_version: _Optional[str] = ..., name: _Optional[str] = ..., is_name_given: _Optional[bool] = ..., instance: _Optional[str] = ..., max_model_bytes: _Optional[int] = ..., protocol_version: _Optional[int] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("name", "node_id", "max_model_bytes", "task_options")
    NAME_FIELD_NUMBER: _ClassVar[int]
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    MAX_MODEL_BYTES_FIELD_NUMBER: _ClassVar[int]
    TASK_OPTIONS_FIELD_NUMBER: _ClassVar[int]
    name: str
    node_id: int
    max_model_bytes: int
    task_options: str
    def __init__(self, name: _Optional[str] = ..., node_id: _Optional[int] = ..., max_model_bytes: _Optional[int] = ..., task_options: _Optional[str] = ...) -> None: ...

class Ready(_message.Message):
    __slots__ = ("description", "device")
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    description: Record
    device: str
    def __init__(self, description: _Optional[_Union[Record, _Mapping]] = ..., device: _Optional[str] = ...) -> None: ...

class Holding(_message.Message):
    __slots__ = ("run_id", "request_ids", "digests")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_IDS_FIELD_NUMBER: _ClassVar[int]
    DIGESTS_FIELD_NUMBER: _ClassVar[int]
    run_id: int
    request_ids: _containers.RepeatedScalarFieldContainer[str]
    digests: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, run_id: _Optional[int] = ..., request_ids: _Optional[_Iterable[str]] = ..., digests: _Optional[_Iterable[bytes]] = ...) -> None: ...

class Repeat(_message.Message):
    __slots__ = ("request_id",)
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    def __init__(self, request_id: _Optional[str] = ...) -> None: ...

class Missing(_message.Message):
    __slots__ = ("request_id", "arrays")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ARRAYS_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    arrays: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, request_id: _Optional[str] = ..., arrays: _Optional[_Iterable[int]] = ...) -> None: ...

class Goodbye(_message.Message):
    __slots__ = ("outcome", "reason", "result")
    class Outcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        OUTCOME_UNSPECIFIED: _ClassVar[Goodbye.Outcome]
        FINISHED: _ClassVar[Goodbye.Outcome]
        FAILED: _ClassVar[Goodbye.Outcome]
        REFUSED: _ClassVar[Goodbye.Outcome]
    OUTCOME_UNSPECIFIED: Goodbye.Outcome
    FINISHED: Goodbye.Outcome
    FAILED: Goodbye.Outcome
    REFUSED: Goodbye.Outcome
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    outcome: Goodbye.Outcome
    reason: str
    result: str
    def __init__(self, outcome: _Optional[_Union[Goodbye.Outcome, str]] = ..., reason: _Optional[str] = ..., result: _Optional[str] = ...) -> None: ...

class Withdraw(_message.Message):
    __slots__ = ("request_id",)
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    def __init__(self, request_id: _Optional[str] = ...) -> None: ...

class Alive(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Go(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Begin(_message.Message):
    __slots__ = ("header_bytes", "array_bytes", "header", "left_out", "waits", "reply_waits")
    HEADER_BYTES_FIELD_NUMBER: _ClassVar[int]
    ARRAY_BYTES_FIELD_NUMBER: _ClassVar[int]
    HEADER_FIELD_NUMBER: _ClassVar[int]
    LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    WAITS_FIELD_NUMBER: _ClassVar[int]
    REPLY_WAITS_FIELD_NUMBER: _ClassVar[int]
    header_bytes: int
    array_bytes: int
    header: bytes
    left_out: _containers.RepeatedScalarFieldContainer[int]
    waits: bool
    reply_waits: bool
    def __init__(self, header_bytes: _Optional[int] = ..., array_bytes: _Optional[int] = ..., header: _Optional[bytes] = ..., left_out: _Optional[_Iterable[int]] = ..., waits: _Optional[bool] = ..., reply_waits: _Optional[bool] = ...) -> None: ...

class Header(_message.Message):
    __slots__ = ("request_id", "message_type", "group_id", "run_id", "array_records", "metric_records", "config_records", "error")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_TYPE_FIELD_NUMBER: _ClassVar[int]
    GROUP_ID_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    ARRAY_RECORDS_FIELD_NUMBER: _ClassVar[int]
    METRIC_RECORDS_FIELD_NUMBER: _ClassVar[int]
    CONFIG_RECORDS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    message_type: str
    group_id: str
    run_id: int
    array_records: _containers.RepeatedCompositeFieldContainer[ArrayRecord]
    metric_records: _containers.RepeatedCompositeFieldContainer[Record]
    config_records: _containers.RepeatedCompositeFieldContainer[Record]
    error: Error
    def __init__(self, request_id: _Optional[str] = ..., message_type: _Optional[str] = ..., group_id: _Optional[str] = ..., run_id: _Optional[int] = ..., array_records: _Optional[_Iterable[_Union[ArrayRecord, _Mapping]]] = ..., metric_records: _Optional[_Iterable[_Union[Record, _Mapping]]] = ..., config_records: _Optional[_Iterable[_Union[Record, _Mapping]]] = ..., error: _Optional[_Union[Error, _Mapping]] = ...) -> None: ...

class ArrayRecord(_message.Message):
    __slots__ = ("name", "arrays")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ARRAYS_FIELD_NUMBER: _ClassVar[int]
    name: str
    arrays: _containers.RepeatedCompositeFieldContainer[Array]
    def __init__(self, name: _Optional[str] = ..., arrays: _Optional[_Iterable[_Union[Array, _Mapping]]] = ...) -> None: ...

class Array(_message.Message):
    __slots__ = ("name", "dtype", "shape", "digest")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    name: str
    dtype: str
    shape: _containers.RepeatedScalarFieldContainer[int]
    digest: bytes
    def __init__(self, name: _Optional[str] = ..., dtype: _Optional[str] = ..., shape: _Optional[_Iterable[int]] = ..., digest: _Optional[bytes] = ...) -> None: ...

class Record(_message.Message):
    __slots__ = ("name", "entries")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    name: str
    entries: _containers.RepeatedCompositeFieldContainer[Entry]
    def __init__(self, name: _Optional[str] = ..., entries: _Optional[_Iterable[_Union[Entry, _Mapping]]] = ...) -> None: ...

class Entry(_message.Message):
    __slots__ = ("key", "integer", "real", "boolean", "text", "octets", "integers", "reals", "booleans", "texts", "octets_list")
    KEY_FIELD_NUMBER: _ClassVar[int]
    INTEGER_FIELD_NUMBER: _ClassVar[int]
    REAL_FIELD_NUMBER: _ClassVar[int]
    BOOLEAN_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    OCTETS_FIELD_NUMBER: _ClassVar[int]
    INTEGERS_FIELD_NUMBER: _ClassVar[int]
    REALS_FIELD_NUMBER: _ClassVar[int]
    BOOLEANS_FIELD_NUMBER: _ClassVar[int]
    TEXTS_FIELD_NUMBER: _ClassVar[int]
    OCTETS_LIST_FIELD_NUMBER: _ClassVar[int]
    key: str
    integer: int
    real: float
    boolean: bool
    text: str
    octets: bytes
    integers: Integers
    reals: Reals
    booleans: Booleans
    texts: Texts
    octets_list: OctetsList
    def __init__(self, key: _Optional[str] = ..., integer: _Optional[int] = ..., real: _Optional[float] = ..., boolean: _Optional[bool] = ..., text: _Optional[str] = ..., octets: _Optional[bytes] = ..., integers: _Optional[_Union[Integers, _Mapping]] = ..., reals: _Optional[_Union[Reals, _Mapping]] = ..., booleans: _Optional[_Union[Booleans, _Mapping]] = ..., texts: _Optional[_Union[Texts, _Mapping]] = ..., octets_list: _Optional[_Union[OctetsList, _Mapping]] = ...) -> None: ...

class Integers(_message.Message):
    __slots__ = ("items",)
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, items: _Optional[_Iterable[int]] = ...) -> None: ...

class Reals(_message.Message):
    __slots__ = ("items",)
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, items: _Optional[_Iterable[float]] = ...) -> None: ...

class Booleans(_message.Message):
    __slots__ = ("items",)
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedScalarFieldContainer[bool]
    def __init__(self, items: _Optional[_Iterable[bool]] = ...) -> None: ...

class Texts(_message.Message):
    __slots__ = ("items",)
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, items: _Optional[_Iterable[str]] = ...) -> None: ...

class OctetsList(_message.Message):
    __slots__ = ("items",)
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, items: _Optional[_Iterable[bytes]] = ...) -> None: ...

class Error(_message.Message):
    __slots__ = ("code", "reason")
    CODE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    code: int
    reason: str
    def __init__(self, code: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...
