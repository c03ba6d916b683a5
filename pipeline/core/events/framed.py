"""Data behind a frame, read by a registry's schema: an object, or JSON as it stands. Pure; the frame names its schema.

The Confluent wire format: a zero byte, the schema's id (four bytes, big endian), the data.
"""

import json
from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

from pipeline.core.events.content_types import BINARY_TYPE
from pipeline.core.events.moments import FIRST_US, LAST_US, show_datetime, show_moment

MARK = b"\x00"
HEAD_BYTES = 5


class FramedData(NamedTuple):
    """JSON `text`, or a `value` of Avro. `problem`: why it is neither, as a sentence."""

    text: bytes | None = None
    value: Any = None
    problem: str | None = None


def take_schema_id(value: bytes) -> int | None:
    """The id in a frame; None: there is no frame."""
    return int.from_bytes(value[1:HEAD_BYTES], "big") if value[:1] == MARK and len(value) >= HEAD_BYTES else None


def write_json(data: FramedData) -> bytes:
    """Write a value as JSON; bytes are base64, times RFC 3339. Raises `ValueError` for what JSON does not have."""
    return data.text if data.text is not None else _dump(data.value)


def write_event(data: FramedData) -> bytes:
    """Write an event in the plain JSON form: its payload may be bytes, its time a number or a time."""
    if data.text is not None or not isinstance(data.value, Mapping):
        return write_json(data)
    members = {name: value for name, value in data.value.items() if value is not None}
    payload, occurred_at_us = members.get("payload"), members.pop("occurred_at_us", None)
    if isinstance(payload, bytes) and members.get("payload_content_type") != BINARY_TYPE:
        members["payload"] = payload.decode()
    if isinstance(occurred_at_us, int) and "occurred_at" not in members:
        if not FIRST_US <= occurred_at_us <= LAST_US:
            raise ValueError("its occurred_at_us is in no year from 0000 to 9999")
        members["occurred_at"] = show_moment(occurred_at_us)
    return _dump(members)


def _dump(value: Any) -> bytes:
    return json.dumps(value, default=_show, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()


def _show(value: Any) -> Any:
    match value:
        case bytes():
            return b64encode(value).decode()
        case datetime():
            return show_datetime(value if value.tzinfo is not None else value.replace(tzinfo=UTC))
        case date() | time():
            return value.isoformat()
        case Decimal() | UUID():
            return str(value)
    raise ValueError(f"a {type(value).__name__} is no JSON")
