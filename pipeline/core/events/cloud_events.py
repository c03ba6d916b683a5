"""CloudEvents 1.0 (JSON and binary form) as events. Pure.

`type` is the event type. `id` is the event's id when it is a UUID; any other, which is unique only within its `source`,
leads to one that is derived of both. Labels are the extension attributes, `subject` where it fits, and `source`: in
full or, when it is too long for a label, as a digest.
"""

import binascii
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from urllib.parse import unquote
from uuid import NAMESPACE_URL, uuid5

import msgspec

from pipeline.core.events.content_types import BINARY_TYPE, JSON_TYPE, TEXT_TYPE
from pipeline.core.events.ids import read_uuid
from pipeline.core.events.moments import parse_moment
from pipeline.core.events.names import PAIR_MAX_BYTES
from pipeline.core.events.records import Event

STRUCTURED_TYPE = "application/cloudevents+json"
BATCH_TYPE = "application/cloudevents-batch+json"
HEADER_PREFIX = "ce-"
CONTEXT = frozenset({"specversion", "id", "source", "type", "time", "subject", "datacontenttype", "dataschema"})
DATA = frozenset({"data", "data_base64"})
# What an event of 5 MiB has beside its data is read in one go, of many small members in more than a second.
ATTRIBUTES_MAX_BYTES = 64 * 1024


class _Data(msgspec.Struct, frozen=True):
    """The members that may be large."""

    data: msgspec.Raw = msgspec.Raw()
    data_base64: msgspec.Raw = msgspec.Raw()


_decode_data = msgspec.json.Decoder(_Data).decode
_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class CloudEventError(ValueError):
    """Why something is no CloudEvent: a sentence without its subject."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudEvent:
    """The parts of a CloudEvent that become an event. `occurred_at_us`: None when it has no `time`."""

    event_id: str
    event_type: str
    occurred_at_us: int | None
    labels: dict[str, str]
    payload: bytes
    payload_content_type: str

    def to_event(self, application_id: str, *, received_at_us: int) -> Event:
        """The event of an application; it occurred when it was received unless it says otherwise."""
        return Event(
            application_id=application_id,
            event_id=self.event_id,
            event_type=self.event_type,
            payload=self.payload,
            payload_content_type=self.payload_content_type,
            labels=self.labels,
            occurred_at_us=self.occurred_at_us if self.occurred_at_us is not None else received_at_us,
            received_at_us=received_at_us,
        )


def parse_structured(value: "bytes | msgspec.Raw") -> CloudEvent:
    """One of the JSON format. Raises `CloudEventError`."""
    try:
        if len(value) > ATTRIBUTES_MAX_BYTES:
            _refuse_large_attributes(value)
        # a member that is null is one that is left out
        members = {name: raw for name, raw in _decode_members(value).items() if not _is_null(raw)}
        attributes = {name: msgspec.json.decode(raw) for name, raw in members.items() if name not in DATA}
    except msgspec.DecodeError as error:
        raise CloudEventError(f"is no JSON object: {error}") from None
    content_type = attributes.get("datacontenttype", JSON_TYPE)
    if not isinstance(content_type, str):
        raise CloudEventError("has a `datacontenttype` that is no text")
    if "data" in members and "data_base64" in members:
        raise CloudEventError("has both `data` and `data_base64`")
    if "data_base64" in members:
        payload, kind = _decode_base64(members["data_base64"], content_type)
    else:
        payload, kind = _take_data(bytes(members.get("data", b"null")), content_type)
    return _make(attributes, payload, kind)


def parse_binary(headers: Mapping[str, str], body: bytes, content_type: str) -> CloudEvent:
    """One of the binary mode, by headers (lower-case names) that begin with `ce-`. Raises `CloudEventError`."""
    attributes = {
        name.removeprefix(HEADER_PREFIX): unquote(value)
        for name, value in headers.items()
        if name.startswith(HEADER_PREFIX)
    }
    return parse_attributes(attributes, body, content_type)


def parse_attributes(attributes: Mapping[str, str], body: bytes, content_type: str) -> CloudEvent:
    """One of the binary mode, by its attributes; the body is its data. Raises `CloudEventError`."""
    return _make(attributes, *_classify(body, content_type))


def derive_event_id(source: str, event_id: str) -> str:
    """The event id of a CloudEvent: its own if it is a UUID, else one that follows from its source and it."""
    try:
        return read_uuid(event_id)
    except ValueError:
        return str(uuid5(NAMESPACE_URL, f"{source}\n{event_id}"))


def _is_null(raw: msgspec.Raw) -> bool:
    return len(raw) == len(b"null") and bytes(raw) == b"null"  # the data, which may be large, is not copied for it


def _refuse_large_attributes(value: "bytes | msgspec.Raw") -> None:
    found = _decode_data(value)
    if len(value) - len(found.data) - len(found.data_base64) > ATTRIBUTES_MAX_BYTES:
        raise CloudEventError(f"has more than {ATTRIBUTES_MAX_BYTES} bytes beside its data")


def _make(attributes: Mapping[str, Any], payload: bytes, payload_content_type: str) -> CloudEvent:
    if attributes.get("specversion") != "1.0":
        raise CloudEventError('must have the `specversion` "1.0"')
    for name in ("id", "source", "type", "time", "subject", "dataschema"):
        value = attributes.get(name)
        if (value is None and name in ("id", "source", "type")) or (value is not None and not isinstance(value, str)):
            raise CloudEventError(f"must have a text as its `{name}`")
        if value == "":
            raise CloudEventError(f"has an empty `{name}`")
    try:
        occurred_at_us = parse_moment(attributes["time"]) if "time" in attributes else None
    except ValueError as error:
        raise CloudEventError(f"has a `time` that cannot be read: {error}") from None
    source = attributes["source"]
    return CloudEvent(
        event_id=derive_event_id(source, attributes["id"]),
        event_type=attributes["type"],
        occurred_at_us=occurred_at_us,
        labels=_make_labels(attributes),
        payload=payload,
        payload_content_type=payload_content_type,
    )


def _make_labels(attributes: Mapping[str, Any]) -> dict[str, str]:
    source, subject = attributes["source"], attributes.get("subject")
    labels = {"source": source if _fits(source) else sha256(source.encode()).hexdigest()[:PAIR_MAX_BYTES]}
    if subject is not None and _fits(subject):
        labels["subject"] = subject
    for name, value in attributes.items():
        if name in CONTEXT:
            continue
        if isinstance(value, bool):
            labels[name] = "true" if value else "false"
        elif isinstance(value, str | int):
            labels[name] = str(value)
        else:
            raise CloudEventError(f"has an attribute `{name}` that is no text, integer or boolean")
    return labels


def _fits(text: str) -> bool:
    return len(text.encode()) <= PAIR_MAX_BYTES


def _decode_base64(raw: msgspec.Raw, content_type: str) -> tuple[bytes, str]:
    try:
        return _classify(b64decode(msgspec.json.decode(raw, type=str), validate=True), content_type)
    except (msgspec.DecodeError, binascii.Error, ValueError):
        raise CloudEventError("has a `data_base64` that is not base64") from None


def _take_data(raw: bytes, content_type: str) -> tuple[bytes, str]:
    """`data`: with a JSON type it is the payload as it stands, else it must be a text."""
    if _is_json(content_type):
        return raw, JSON_TYPE
    if raw == b"null":
        return b"", TEXT_TYPE
    try:
        return msgspec.json.decode(raw, type=str).encode(), TEXT_TYPE
    except msgspec.DecodeError:
        raise CloudEventError(f"has `data` that is no text, with the `datacontenttype` {content_type}") from None


def _classify(payload: bytes, content_type: str) -> tuple[bytes, str]:
    if _is_json(content_type):
        return payload, JSON_TYPE
    if content_type.startswith("text/"):
        try:
            payload.decode()
        except UnicodeDecodeError:
            return payload, BINARY_TYPE
        return payload, TEXT_TYPE
    return payload, BINARY_TYPE


def _is_json(content_type: str) -> bool:
    essence = content_type.partition(";")[0].strip().lower()
    return essence == JSON_TYPE or essence.endswith("+json")
