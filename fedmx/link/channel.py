"""What both ends of the gRPC connection must agree on: its method, its options, its keepalive."""

METHOD = "/fedmx.link.Link/Join"
SERVICE, _, _METHOD_NAME = METHOD[1:].partition("/")
METHOD_NAME = _METHOD_NAME

Option = tuple[str, int | str]

# A peer that says nothing for 25 s is gone. Pings go on while a node trains for minutes and no data flows, and
# neither side counts them against the other (gRPC's default answers ENHANCE_YOUR_CALM to such pings).
KEEPALIVE: list[Option] = [
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 15_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
]


def options(frame_bytes: int) -> list[Option]:
    """Give the channel options of either end."""
    limits: list[Option] = [
        ("grpc.max_receive_message_length", frame_bytes),
        ("grpc.max_send_message_length", frame_bytes),
    ]
    return limits + KEEPALIVE
