"""Reads a record of the events topic, from any producer, into an Event, a marker, or a reason why it is unreadable.

Producers other than the gateway write Avro single-object encoding or plain JSON. The JSON form is one object:
`application_id`, `event_type`, `payload` (a string), `payload_content_type`; optional `event_id` (derived from the
record's place otherwise), `labels`, `metadata`, `occurred_at` (RFC 3339). A CloudEvent in the structured mode is read
as well; its application is the record's key.
"""

import base64
import binascii
from dataclasses import dataclass

import msgspec

from pipeline.core.events.cloud_events import CloudEventError, parse_structured
from pipeline.core.events.content_types import BINARY_TYPE, CONTENT_TYPES, JSON_TYPE
from pipeline.core.events.ids import derive_record_id, is_uuid
from pipeline.core.events.json_text import find_json_problem
from pipeline.core.events.moments import parse_moment
from pipeline.core.events.names import LABELS_MAX, METADATA_MAX, find_event_type_problem, find_pairs_problem
from pipeline.core.events.records import Event, RoutesChanged, from_bytes
from pipeline.core.log.checksum import is_corrupt
from schemas import SchemaError

SPECVERSION = b'"specversion"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """Why a record is no event. `reason` is the dead letter's word, `detail` one sentence for its producer."""

    reason: str
    detail: str
    application_id: str | None = None
    event_id: str | None = None


class JsonEvent(msgspec.Struct, frozen=True):
    """The plain JSON form."""

    application_id: str
    event_type: str
    payload: str
    payload_content_type: str
    event_id: str | None = None
    labels: dict[str, str] = {}
    metadata: dict[str, str] = {}
    occurred_at: str | None = None


_decode_json = msgspec.json.Decoder(JsonEvent).decode


def parse_event(
    value: bytes | None,
    key: bytes | None,
    *,
    topic: str,
    partition: int,
    offset: int,
    appended_at_us: int,
    record_time_us: int | None = None,
) -> Event | RoutesChanged | Unreadable:
    """Read one record of the events topic. Never raises, whatever the bytes are.

    `record_time_us`: as the log has it, where `appended_at_us` is another time.
    """
    if not value:
        return Unreadable(reason="undecodable", detail="the record has no value")
    record: Event | RoutesChanged | Unreadable
    if value[:1] in b"{ \t\r\n":
        time_us = appended_at_us if record_time_us is None else record_time_us
        record = _parse_json(value, key, derive_record_id(topic, partition, offset, time_us), appended_at_us)
    else:
        record = _parse_avro(value)
    if isinstance(record, Unreadable):
        return record
    if key != record.application_id.encode():
        detail = f"the record's key must be its application_id ({record.application_id})"
        return Unreadable(reason="wrong_key", detail=detail)
    if isinstance(record, RoutesChanged):
        return record
    if is_corrupt(record):
        return Unreadable(
            reason="corrupt",
            detail="its content does not have the checksum that it says",
            application_id=record.application_id,
            event_id=record.event_id,
        )
    problem = find_problem(record)
    if problem is not None:
        return Unreadable(
            reason="invalid_event", detail=problem, application_id=record.application_id, event_id=record.event_id
        )
    return record


def find_problem(event: Event) -> str | None:
    """The first rule an event breaks, as a sentence; None when it is fine."""
    if not is_uuid(event.application_id):
        return "application_id must be a lower-case hyphenated UUID"
    if not is_uuid(event.event_id):
        return "event_id must be a lower-case hyphenated UUID"
    name_problem = find_event_type_problem(event.event_type)
    if name_problem is not None:
        return f"event_type {name_problem.message}"
    if event.payload_content_type not in CONTENT_TYPES:
        return f"payload_content_type must be one of {', '.join(CONTENT_TYPES)}"
    for name, pairs, pairs_max in (("labels", event.labels, LABELS_MAX), ("metadata", event.metadata, METADATA_MAX)):
        if len(pairs) > pairs_max:
            return f"{name} must have at most {pairs_max} pairs"
        pairs_problem = find_pairs_problem(pairs)
        if pairs_problem is not None:
            return f"{name}: {pairs_problem.message}"
    if event.payload_content_type == JSON_TYPE:
        json_problem = find_json_problem(event.payload)
        if json_problem is not None:
            return f"payload {json_problem}; with this payload_content_type it must be JSON"
    return None


def _parse_avro(value: bytes) -> Event | RoutesChanged | Unreadable:
    try:
        record = from_bytes(value)
    except SchemaError as error:
        return Unreadable(reason="undecodable", detail=str(error))
    if isinstance(record, Event | RoutesChanged):
        return record
    return Unreadable(reason="undecodable", detail=f"a {type(record).__name__} does not belong in the events topic")


def _parse_json(value: bytes, key: bytes | None, fallback_id: str, appended_at_us: int) -> Event | Unreadable:
    json_problem = find_json_problem(value)
    if json_problem is not None:
        return Unreadable(reason="undecodable", detail=f"it starts like JSON and {json_problem}")
    try:
        form = _decode_json(value)
    except msgspec.DecodeError as error:
        if SPECVERSION in value:
            return _parse_cloud_event(value, key, appended_at_us)
        return Unreadable(reason="undecodable", detail=f"it starts like JSON and is not an event: {error}")
    event_id = form.event_id or fallback_id
    payload = form.payload.encode()
    problem: str | None = None
    try:
        if form.payload_content_type == BINARY_TYPE:
            payload = base64.b64decode(payload, validate=True)
    except binascii.Error:
        problem = "payload must be standard base64 with this payload_content_type"
    occurred_at_us = appended_at_us
    if form.occurred_at is not None:
        try:
            occurred_at_us = parse_moment(form.occurred_at)
        except ValueError as error:
            problem = f"occurred_at: {error}"
    if problem is not None:
        return Unreadable(
            reason="invalid_event", detail=problem, application_id=form.application_id, event_id=form.event_id
        )
    return Event(
        application_id=form.application_id,
        event_id=event_id,
        event_type=form.event_type,
        payload=payload,
        payload_content_type=form.payload_content_type,
        labels=form.labels,
        metadata=form.metadata,
        occurred_at_us=occurred_at_us,
        received_at_us=appended_at_us,
    )


def _parse_cloud_event(value: bytes, key: bytes | None, appended_at_us: int) -> Event | Unreadable:
    application_id = (key or b"").decode(errors="replace")
    try:
        event = parse_structured(value)
    except CloudEventError as error:
        return Unreadable(reason="invalid_event", detail=f"it is no CloudEvent: it {error}")
    return event.to_event(application_id, received_at_us=appended_at_us)
