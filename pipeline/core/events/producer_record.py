"""A record of a producer's topic as an event: whose it is follows from the topic, not from what the record says. Pure.

Besides what the events topic takes these are read: CloudEvents in the binary mode (attributes are headers that begin
with `ce_`), in the structured mode by their content type, and what a schema of a registry reads (`framed`).
"""

import re
from collections.abc import Callable
from typing import NamedTuple

from msgspec import structs

from pipeline.core.events.cloud_events import CloudEvent, CloudEventError, parse_attributes, parse_structured
from pipeline.core.events.content_types import BINARY_TYPE, JSON_TYPE
from pipeline.core.events.event import Unreadable, find_problem, parse_event
from pipeline.core.events.framed import HEAD_BYTES, FramedData, take_schema_id, write_event, write_json
from pipeline.core.events.json_text import find_json_problem
from pipeline.core.events.moments import LAST_US
from pipeline.core.events.records import Event
from pipeline.core.log.checksum import sum_content

NAME = "in."  # behind the prefix of all topics, before the application's id
ATTRIBUTE_PREFIX = "ce_"
CONTENT_TYPE = "content-type"
CLOUD_EVENTS = "application/cloudevents"
# what data behind a frame may be called where a record says what it is
FRAMED_TYPES = frozenset({JSON_TYPE, "application/avro", "avro/binary", "application/vnd.apache.avro+binary"})

Headers = tuple[tuple[str, bytes | None], ...]
ReadFramed = Callable[[int, bytes], FramedData]  # the schema's id, and the data behind the frame


class ProducerRecord(NamedTuple):
    """One record of a producer's topic. `timestamp_us`: as the topic has it, the broker's or the producer's."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp_us: int


def find_topic_pattern(prefix: str) -> str:
    """A regular expression that the names of producers' topics match as a whole."""
    uuid = "-".join(f"[0-9a-f]{{{digits}}}" for digits in (8, 4, 4, 4, 12))
    return f"^{re.escape(prefix + NAME)}{uuid}$"


def name_topic(prefix: str, application_id: str) -> str:
    """The topic of an application's producers."""
    return f"{prefix}{NAME}{application_id}"


def find_application_id(prefix: str, topic: str) -> str:
    """Return the application whose topic this is."""
    return topic.removeprefix(prefix + NAME)


def find_schema_id(record: ProducerRecord) -> int | None:
    """The id of the schema that it takes to read the record; None: it takes none."""
    schema_id = take_schema_id(record.value or b"")
    if _has_attributes(record.headers) and _find_kind(record.headers) not in FRAMED_TYPES:
        return None  # bytes that happen to begin like a frame
    return schema_id


def read_record(
    record: ProducerRecord, application_id: str, read_framed: ReadFramed, *, now_us: int
) -> Event | Unreadable:
    """The event of a record, received now. Never raises, whatever the bytes are."""
    # its producer may have given no time, or nonsense
    received_at_us = record.timestamp_us if 0 <= record.timestamp_us <= LAST_US else now_us
    event = _read(record, application_id, read_framed, received_at_us)
    problem = find_problem(event) if isinstance(event, Event) else None
    if problem is not None:
        event = Unreadable(reason="invalid_event", detail=problem)
    if isinstance(event, Unreadable):
        return Unreadable(reason=event.reason, detail=event.detail, application_id=application_id)
    return structs.replace(
        event,
        application_id=application_id,
        received_at_us=now_us,
        content_crc32=sum_content(event.event_id, event.event_type, event.payload_content_type, event.payload),
        # whatever the record says of these
        ip=None,
        schema_version=-1,
    )


def _read(
    record: ProducerRecord, application_id: str, read_framed: ReadFramed, received_at_us: int
) -> Event | Unreadable:
    value, kind, is_cloud_event = record.value or b"", _find_kind(record.headers), _has_attributes(record.headers)
    schema_id = find_schema_id(record)
    if schema_id is not None:
        framed = read_framed(schema_id, value[HEAD_BYTES:])
        if framed.problem is not None:
            return Unreadable(reason="undecodable", detail=framed.problem)
        try:
            value = write_json(framed) if is_cloud_event else write_event(framed)
        except ValueError as error:
            return Unreadable(reason="undecodable", detail=f"read with schema {schema_id} it cannot be used: {error}")
        kind = JSON_TYPE if is_cloud_event else kind
    if is_cloud_event or kind.startswith(CLOUD_EVENTS):
        try:
            cloud_event = _read_cloud_event(record, value, kind, is_binary=is_cloud_event)
        except CloudEventError as error:
            return Unreadable(reason="invalid_event", detail=f"it is no CloudEvent: it {error}")
        return cloud_event.to_event(application_id, received_at_us=received_at_us)
    return _read_own(record, application_id, value, received_at_us)


def _read_own(record: ProducerRecord, application_id: str, value: bytes, received_at_us: int) -> Event | Unreadable:
    """Read a record in the form of the events topic."""
    found = parse_event(
        value,
        application_id.encode(),
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        appended_at_us=received_at_us,
        record_time_us=record.timestamp_us,
    )
    match found:
        case Event():
            return found
        case Unreadable(reason="wrong_key"):
            return Unreadable(reason="wrong_key", detail=f"only events of application {application_id} belong here")
        case Unreadable():
            return found
    return Unreadable(reason="undecodable", detail=f"a {type(found).__name__} does not belong in a producer's topic")


def _read_cloud_event(record: ProducerRecord, value: bytes, kind: str, *, is_binary: bool) -> CloudEvent:
    """Read a CloudEvent. Raises `CloudEventError`."""
    if is_binary:
        return parse_attributes(_take_attributes(record.headers), value, kind)
    problem = find_json_problem(value)
    if problem is not None:
        raise CloudEventError(problem)
    return parse_structured(value)


def _has_attributes(headers: Headers) -> bool:
    return any(name.lower() == f"{ATTRIBUTE_PREFIX}specversion" for name, _ in headers)


def _find_kind(headers: Headers) -> str:
    """The content type in lower case, without parameters; bytes, if there is none."""
    for name, value in headers:
        if name.lower() == CONTENT_TYPE and value is not None:
            return value.decode(errors="replace").partition(";")[0].strip().lower()
    return BINARY_TYPE


def _take_attributes(headers: Headers) -> dict[str, str]:
    """Take the attributes of a CloudEvent. Raises `CloudEventError`."""
    attributes = {}
    for name, value in headers:
        if name.lower().startswith(ATTRIBUTE_PREFIX) and value is not None:
            try:
                attributes[name.lower().removeprefix(ATTRIBUTE_PREFIX)] = value.decode()
            except UnicodeDecodeError:
                raise CloudEventError(f"has a header {name[:60]!a} that is not UTF-8") from None
    return attributes
