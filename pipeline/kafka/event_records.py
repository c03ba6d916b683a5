"""Records of the events topic, read as what they are."""

from pipeline.core.events.event import Unreadable, parse_event
from pipeline.core.events.records import Event, RoutesChanged
from pipeline.kafka.record import LogRecord


def read_event(record: LogRecord) -> Event | RoutesChanged | Unreadable:
    """Read a record as `parse_event` does. Never raises."""
    return parse_event(
        record.value,
        record.key,
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        appended_at_us=record.timestamp_us,
    )
