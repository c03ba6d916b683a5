"""Records of the log become rows of the archive. Pure: no connection, no clock.

A record of the events topic that is no event has no row: the matcher writes its dead letter. An unreadable record of
the other topics, which only our own processes write, becomes a dead letter here; so does one that no table takes.
Text loses NUL, which PostgreSQL's text cannot hold: it is kept as U+FFFD. Bodies and the JSON of maps keep every byte.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import msgspec
import structlog

from connectors.sink import LogRecord, Place
from pipeline.core.events.dead_letters import make_dead_letter
from pipeline.core.events.ids import derive_attempt_id, is_uuid
from pipeline.core.events.records import (
    Attempt,
    DeadLetter,
    Dispatch,
    Event,
    Record,
    expect,
    from_bytes,
    is_probe,
)
from pipeline.core.trace_context import TraceHeaders, show_headers
from pipeline.kafka.event_records import read_event
from pipeline.postgres.archive.bodies import pack_body
from pipeline.postgres.archive.dead_letters import dump_headers
from pipeline.postgres.archive.tables import ATTEMPTS, DEAD_LETTERS, DELIVERIES, DISPATCHES, EVENTS, day_of
from pipeline.postgres.archive.writer import Row
from pipeline.topics import Topics
from schemas import SchemaError

INTEGER_MAX = 2**31 - 1
NONE_REFUSED: Mapping[LogRecord, str] = {}

Rows = dict[str, list[Row]]  # by table name
log = structlog.get_logger()
RecordT = TypeVar("RecordT", bound=Record)


class RowBuilder:
    """Knows which topic becomes which rows."""

    def __init__(self, topics: Topics, *, compress_min_bytes: int) -> None:
        self._topics = topics
        self._compress_min_bytes = compress_min_bytes
        self._add: dict[str, Callable[[Rows, LogRecord], None]] = {
            topics.events.name: self._add_event,
            topics.dispatches.name: self._add_dispatch,
            topics.attempts.name: self._add_attempt,
            topics.dead.name: self._add_dead_letter,
        }

    def build(self, records: Iterable[LogRecord], refused: Mapping[LogRecord, str] = NONE_REFUSED) -> Rows:
        """The rows of `records`, in their order."""
        return self.build_with_reasons(records, refused)[0]

    def build_with_reasons(
        self, records: Iterable[LogRecord], refused: Mapping[LogRecord, str] = NONE_REFUSED
    ) -> tuple[Rows, list[str]]:
        """The rows, and the reasons of those dead letters among them that are made here.

        A record becomes a dead letter if PostgreSQL refuses its rows (`refused`: why), or if no rows can be made of it:
        whatever the reason, it concerns this record alone.
        """
        rows: Rows = defaultdict(list)
        reasons = []
        for record in records:
            detail = refused.get(record) if refused else None
            if detail is not None:
                rows[DEAD_LETTERS.name].append(self._letter_row(record, "unwritable", detail))
                reasons.append("unwritable")
                continue
            own: Rows = defaultdict(list)
            try:
                self._add[record.topic](own, record)
            except SchemaError as error:
                if is_probe(record.value):
                    continue
                own = {DEAD_LETTERS.name: [self._letter_row(record, "undecodable", str(error))]}
                reasons.append("undecodable")
            except Exception as error:
                detail = f"{type(error).__name__}: {error}"[:500]
                own = {DEAD_LETTERS.name: [self._letter_row(record, "unwritable", detail)]}
                reasons.append("unwritable")
                log.error("record_refused", **describe_place(record), reason=detail)
            for table, group in own.items():
                rows[table] += group
        return rows, reasons

    def read_log_times(self, records: Iterable[LogRecord]) -> dict[Place, int]:
        """The timestamp of the newest record of each partition, where it is the broker's clock that set it."""
        name = self._topics.events.name
        return {record.place: record.timestamp_us for record in records if record.topic == name}

    def _add_event(self, rows: Rows, record: LogRecord) -> None:
        event = read_event(record)
        if not isinstance(event, Event):
            return
        payload, compressed = pack_body(event.payload, compress_min_bytes=self._compress_min_bytes)
        rows[EVENTS.name].append(
            (
                day_of(record.timestamp_us),
                event.application_id,
                event.event_id,
                _clean(event.event_type),
                payload,
                compressed,
                event.payload_content_type,
                _to_json(event.labels),
                _to_json(event.metadata),
                event.occurred_at_us,
                event.received_at_us,
                record.timestamp_us,
                _clean_or_none(event.ip),
                record.partition,
                record.offset,
            )
        )

    def _add_dispatch(self, rows: Rows, record: LogRecord) -> None:
        dispatch = _read(Dispatch, record)
        _check_ids(dispatch.application_id, dispatch.event_id, *_list_ids(dispatch.matches))
        _check_integers(dispatch.event_partition)
        day, event_type = day_of(dispatch.appended_at_us), _clean(dispatch.event_type)
        rows[DISPATCHES.name].append(
            (
                day,
                dispatch.application_id,
                dispatch.event_id,
                event_type,
                dispatch.event_partition,
                dispatch.event_offset,
                dispatch.appended_at_us,
                dispatch.received_at_us,
                dispatch.matched_at_us,
                dispatch.routes_version,
                len(dispatch.matches),
            )
        )
        rows[DELIVERIES.name] += [
            (
                day,
                dispatch.application_id,
                dispatch.event_id,
                match["delivery_id"],
                match["subscription_id"],
                event_type,
                dispatch.appended_at_us,
                dispatch.matched_at_us,
                derive_attempt_id(match["delivery_id"], 1),
            )
            for match in dispatch.matches
        ]

    def _add_attempt(self, rows: Rows, record: LogRecord) -> None:
        attempt = _read(Attempt, record)
        _check_ids(
            attempt.application_id, attempt.event_id, attempt.delivery_id, attempt.attempt_id, attempt.subscription_id
        )
        _check_integers(attempt.attempt_number, attempt.response_status or 0, attempt.source_partition)
        body, compressed = pack_body(attempt.response_body, compress_min_bytes=self._compress_min_bytes)
        rows[ATTEMPTS.name].append(
            (
                day_of(attempt.appended_at_us),
                attempt.application_id,
                attempt.event_id,
                attempt.delivery_id,
                attempt.attempt_number,
                attempt.attempt_id,
                attempt.subscription_id,
                _clean(attempt.event_type),
                attempt.appended_at_us,
                attempt.outcome,
                _clean_or_none(attempt.error_class),
                _clean_or_none(attempt.error_detail),
                attempt.queued_at_us,
                attempt.started_at_us,
                attempt.finished_at_us,
                _clean(attempt.request_method),
                _clean(attempt.request_url),
                _to_json(attempt.request_headers),
                attempt.response_status,
                _to_json(attempt.response_headers),
                body,
                compressed,
                _to_json(attempt.timings_us),
                attempt.next_due_at_us,
                derive_attempt_id(attempt.delivery_id, attempt.attempt_number + 1),
                _clean(attempt.source_topic),
                attempt.source_partition,
                attempt.source_offset,
            )
        )

    def _add_dead_letter(self, rows: Rows, record: LogRecord) -> None:
        letter = _read(DeadLetter, record)
        _check_ids(letter.dead_id)
        _check_integers(letter.source_partition)
        rows[DEAD_LETTERS.name].append(self._to_row(letter, record.trace))

    def _letter_row(self, record: LogRecord, reason: str, detail: str) -> Row:
        """The dead letter's row of a record that gets no row."""
        application_id, event_id = self._find_event(record)
        return self._to_row(
            make_dead_letter(
                reason,
                detail,
                topic=record.topic,
                partition=record.partition,
                offset=record.offset,
                key=record.key,
                value=record.value,
                appended_at_us=record.timestamp_us,
                died_at_us=record.timestamp_us,
                application_id=application_id,
                event_id=event_id,
            ),
            record.trace,
        )

    def _find_event(self, record: LogRecord) -> tuple[str | None, str | None]:
        """The record's application and event, if it names them: reads that wait for this event then wait no longer."""
        if record.topic == self._topics.events.name:
            event = read_event(record)
            return (event.application_id, event.event_id) if isinstance(event, Event) else (None, None)
        try:
            known = from_bytes(record.value or b"")
        except SchemaError:
            return None, None
        return getattr(known, "application_id", None), getattr(known, "event_id", None)

    def _to_row(self, letter: DeadLetter, trace: TraceHeaders | None) -> Row:
        traceparent, tracestate = show_headers(trace)
        value, compressed = letter.source_value, False
        if value is not None:
            value, compressed = pack_body(value, compress_min_bytes=self._compress_min_bytes)
        return (
            day_of(letter.source_appended_at_us),
            letter.dead_id,
            _clean(letter.reason),
            _clean(letter.detail),
            _clean(letter.source_topic),
            letter.source_partition,
            letter.source_offset,
            letter.source_appended_at_us,
            letter.source_key,
            value,
            compressed,
            # these come from records that were refused, so that they may be anything
            _uuid_or_none(letter.application_id),
            _uuid_or_none(letter.subscription_id),
            _uuid_or_none(letter.delivery_id),
            _uuid_or_none(letter.event_id),
            letter.died_at_us,
            traceparent,
            tracestate,
            dump_headers([(each["name"], each["value"]) for each in letter.source_headers]),
        )


def describe_place(record: LogRecord) -> dict[str, str | int]:
    """The record's place, for log lines."""
    return {"topic": record.topic, "partition": record.partition, "offset": record.offset}


def _read(record_type: type[RecordT], record: LogRecord) -> RecordT:
    return expect(record_type, record.value or b"")


def _list_ids(matches: Iterable[Mapping[str, str]]) -> list[str]:
    return [match[name] for match in matches for name in ("subscription_id", "delivery_id")]


def _check_ids(*ids: str) -> None:
    for text in ids:
        if not is_uuid(text):
            raise SchemaError(f"an id that is no lower-case hyphenated UUID: {text[:50]!r}")


def _check_integers(*numbers: int) -> None:
    for number in numbers:
        if not -INTEGER_MAX <= number <= INTEGER_MAX:
            raise SchemaError(f"a number beyond 32 bits: {number}")


def _uuid_or_none(text: str | None) -> str | None:
    return text if text is not None and is_uuid(text) else None


def _to_json(pairs: Mapping[str, Any]) -> str:
    return msgspec.json.encode(pairs).decode()


def _clean(text: str) -> str:
    return text.replace("\x00", "\ufffd")


def _clean_or_none(text: str | None) -> str | None:
    return None if text is None else _clean(text)
