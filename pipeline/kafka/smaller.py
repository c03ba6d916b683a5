"""Replacements for a record that its topic does not take: the same fact in a smaller form, or a dead letter.

Nothing is lost in silence, and no record stops the ones behind it. Where even the smallest form is refused the topic is
wrong, not the record.
"""

from collections.abc import Callable

import msgspec

from pipeline.core.events.bundle import take_apart
from pipeline.core.events.dead_letters import DETAIL_MAX_CHARS, make_dead_letter
from pipeline.core.events.records import (
    Attempt,
    Bundle,
    DeadLetter,
    Delivery,
    Dispatch,
    EndpointState,
    OpenRequests,
    from_bytes,
    to_bytes,
)
from pipeline.kafka.failures import Plain, RecordRefusedError, ToSend, trace
from pipeline.topics import Topics
from schemas import SchemaError

REASON = "refused_by_log"
NOWHERE = -1  # partition and offset of a record that is in no topic


class Smaller:
    """Knows the smaller forms of records of matcher and deliver. `on_dead`: called with a letter's reason."""

    def __init__(self, topics: Topics, clock_us: Callable[[], int], *, on_dead: Callable[[str], None]) -> None:
        self._topics = topics
        self._clock_us = clock_us
        self._on_dead = on_dead

    def __call__(self, refused: ToSend, error: RecordRefusedError) -> list[ToSend] | None:
        """The records to write instead; None when there is no smaller form."""
        instead = self._replace(refused, error)
        headers = refused[3] if len(refused) > 3 else None
        return None if instead is None else [trace(each, headers) for each in instead]

    def _replace(self, refused: ToSend, error: RecordRefusedError) -> list[Plain] | None:
        topic, key, value = refused[:3]
        try:
            record = from_bytes(value or b"")
        except SchemaError:
            return [(self._topics.dead, key, to_bytes(self._make_letter(refused, error, None)))]
        match record:
            case Attempt():
                shorter = _shorten(record)
                return None if shorter == record else [(topic, key, to_bytes(shorter))]
            case Delivery():
                return [(self._topics.dead, key, to_bytes(self._make_letter(refused, error, record)))]
            case Bundle():
                return [(topic, each.subscription_id.encode(), to_bytes(each)) for each in take_apart(record)]
            case Dispatch():
                # the archive adds up what several dispatches of an event say
                half = len(record.matches) // 2
                parts = (record.matches[:half], record.matches[half:]) if half else ()
                halves = [msgspec.structs.replace(record, matches=part) for part in parts]
                return [(topic, key, to_bytes(each)) for each in halves] or None
            case DeadLetter(source_value=bytes() as lost):
                detail = f"{record.detail} (its value has {len(lost)} bytes, more than {topic.name} takes: not kept)"
                return [(topic, key, to_bytes(msgspec.structs.replace(record, source_value=None, detail=detail)))]
            case EndpointState() | OpenRequests():
                return []  # published again when it changes, or of no use later
            case _:
                return None

    def _make_letter(self, refused: ToSend, error: RecordRefusedError, delivery: Delivery | None) -> DeadLetter:
        topic, key, value = refused[:3]
        now_us = self._clock_us()
        self._on_dead(REASON)
        name = f"{delivery.delivery_id}/{delivery.attempt_number}" if delivery is not None else key.hex()
        return make_dead_letter(
            REASON,
            f"{topic.name} does not take it: {error}"[:DETAIL_MAX_CHARS],
            topic=topic.name,
            partition=NOWHERE,
            offset=NOWHERE,
            key=key,
            value=value,
            appended_at_us=now_us,
            died_at_us=now_us,
            delivery=delivery,
            name=name,
        )


def _shorten(attempt: Attempt) -> Attempt:
    """Drop request and response; the outcome stays."""
    detail = attempt.error_detail
    return msgspec.structs.replace(
        attempt,
        request_headers={},
        response_headers={},
        response_body=b"",
        error_detail=detail[:DETAIL_MAX_CHARS] if detail is not None else None,
    )
