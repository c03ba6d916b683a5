"""Quotas of a broker's clients. confluent_kafka has no call for that."""

import socket
import struct

ALTER_CLIENT_QUOTAS = 49
CORRELATION = 1


def set_quota(bootstrap_servers: str, client_id: str | None, key: str, value: float | None) -> None:
    """Set a quota of all clients with this id, or of each id; a value of None removes it."""
    body = b"".join(
        (
            struct.pack(">ii", 1, 1),  # one entry, of one entity
            _text("client-id"),
            _text(client_id),
            struct.pack(">i", 1),
            _text(key),
            struct.pack(">d?", value or 0.0, value is None),
            struct.pack(">?", False),  # not only to be checked
        )
    )
    request = struct.pack(">hhi", ALTER_CLIENT_QUOTAS, 0, CORRELATION) + _text("test") + body
    host, _, port = bootstrap_servers.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(struct.pack(">i", len(request)) + request)
        (length,) = struct.unpack(">i", connection.recv(4, socket.MSG_WAITALL))
        answer = connection.recv(length, socket.MSG_WAITALL)
    _, _, entries, code = struct.unpack(">iiih", answer[:14])
    assert (1, 0) == (entries, code), answer


def _text(text: str | None) -> bytes:
    if text is None:
        return struct.pack(">h", -1)
    return struct.pack(">h", len(text)) + text.encode()
