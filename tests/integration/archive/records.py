"""Records of the four topics the archive reads, made to order. Shared by the archive's unit and integration tests."""

import time
from uuid import uuid4

import msgspec

from connectors.sink import LogRecord
from pipeline.core.events.ids import derive_attempt_id, derive_delivery_id
from pipeline.core.events.records import Attempt, DeadLetter, Dispatch, Event, Record, to_bytes
from pipeline.core.units import SECOND_US
from pipeline.topics import Topic, declare_topics

TOPICS = declare_topics(prefix="test.", partitions=4, event_retention_s=7 * 86_400)
DAY_US = 86_400 * SECOND_US


# Now, in microseconds since the epoch; whole milliseconds, as Kafka keeps them. One value for all, so that a run over
# midnight does not spread over two days.
NOW_US = time.time_ns() // 1_000_000 * 1000


def make_id() -> str:
    return str(uuid4())


def make_event(application_id: str, event_id: str | None = None, *, payload: bytes = b"{}") -> Event:
    at_us = NOW_US
    return Event(
        application_id=application_id,
        event_id=event_id or make_id(),
        event_type="billing.invoice.paid",
        payload=payload,
        payload_content_type="text/plain" if payload[:1] in b"x" else "application/json",
        labels={"customer": "7"},
        metadata={"source": "test"},
        occurred_at_us=at_us - SECOND_US,
        received_at_us=at_us,
        ip="192.0.2.7",
    )


def make_dispatch(event: Event, *subscription_ids: str, appended_at_us: int | None = None) -> Dispatch:
    at_us = appended_at_us or event.received_at_us
    return Dispatch(
        application_id=event.application_id,
        event_id=event.event_id,
        event_type=event.event_type,
        event_partition=0,
        event_offset=0,
        appended_at_us=at_us,
        received_at_us=event.received_at_us,
        matched_at_us=at_us + 1000,
        routes_version=1,
        matches=[
            {
                "subscription_id": subscription_id,
                "delivery_id": derive_delivery_id(event.event_id, subscription_id, event.application_id),
            }
            for subscription_id in subscription_ids
        ],
    )


def make_attempt(dispatch: Dispatch, match: int = 0, *, number: int = 1, outcome: str = "succeeded") -> Attempt:
    """The n-th attempt of one of the dispatch's matches: number seconds after the match, 20 ms long."""
    delivery_id = dispatch.matches[match]["delivery_id"]
    started_at_us = dispatch.matched_at_us + number * SECOND_US
    failed = outcome == "failed"
    return Attempt(
        attempt_id=derive_attempt_id(delivery_id, number),
        attempt_number=number,
        delivery_id=delivery_id,
        subscription_id=dispatch.matches[match]["subscription_id"],
        application_id=dispatch.application_id,
        event_id=dispatch.event_id,
        event_type=dispatch.event_type,
        appended_at_us=dispatch.appended_at_us,
        outcome=outcome,
        error_class="E_HTTP" if failed else None,
        error_detail="it answered 500" if failed else None,
        queued_at_us=started_at_us,
        started_at_us=started_at_us,
        finished_at_us=started_at_us + 20_000,
        request_method="POST",
        request_url="https://example.test/hook",
        request_headers={"content-type": "application/json"},
        response_status=500 if failed else 200,
        response_headers={"server": "test"},
        response_body=b"thanks",
        timings_us={"connect": 1000},
        next_due_at_us=started_at_us + 3600 * SECOND_US if failed else None,
        source_topic=TOPICS.deliveries.name,
        source_partition=0,
        source_offset=0,
    )


def make_dead_letter(event: Event) -> DeadLetter:
    return DeadLetter(
        dead_id=make_id(),
        reason="unknown_event_type",
        detail="the application has no such event type",
        source_topic=TOPICS.events.name,
        source_partition=0,
        source_offset=0,
        source_appended_at_us=event.received_at_us,
        source_key=event.application_id.encode(),
        source_value=b"\x00\x01",
        application_id=event.application_id,
        event_id=event.event_id,
        died_at_us=event.received_at_us,
    )


class Log:
    """Stands for the four topics: gives each record the next offset of its topic's partition 0."""

    def __init__(self) -> None:
        self._next_offsets: dict[str, int] = {}

    def append(self, record: Record, *, appended_at_us: int | None = None) -> LogRecord:
        topic, key = _place(record)
        return self.append_raw(topic, key, to_bytes(record), appended_at_us=appended_at_us)

    def append_raw(
        self, topic: Topic, key: bytes | None, value: bytes | None, *, appended_at_us: int | None = None
    ) -> LogRecord:
        offset = self._next_offsets.get(topic.name, 0)
        self._next_offsets[topic.name] = offset + 1
        return LogRecord(
            topic=topic.name,
            partition=0,
            offset=offset,
            timestamp_us=appended_at_us or NOW_US,
            key=key,
            value=value,
        )


def _place(record: Record) -> tuple[Topic, bytes]:
    match record:
        case Event(application_id=application_id):
            return TOPICS.events, application_id.encode()
        case Dispatch(application_id=application_id):
            return TOPICS.dispatches, application_id.encode()
        case Attempt(subscription_id=subscription_id):
            return TOPICS.attempts, subscription_id.encode()
        case DeadLetter(source_key=source_key):
            return TOPICS.dead, source_key or b""
    raise TypeError(f"the archive does not read {type(record).__name__}")


def change(record: Record, **fields: object) -> Record:
    """Copy a record with other fields."""
    return msgspec.structs.replace(record, **fields)
