import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.postgres.rows import RowBuilder
from pipeline.core.events.ids import derive_attempt_id, derive_record_id
from pipeline.core.events.records import RoutesChanged, to_bytes
from pipeline.postgres.archive.bodies import unpack_body
from pipeline.postgres.archive.dead_letters import load_headers
from pipeline.postgres.archive.tables import TABLES, day_of
from pipeline.topics import Topic
from tests.integration.archive.records import (
    NOW_US,
    TOPICS,
    Log,
    change,
    make_attempt,
    make_dead_letter,
    make_dispatch,
    make_event,
    make_id,
)

COLUMNS = {table.name: table.columns for table in TABLES}
ARCHIVED = (TOPICS.events, TOPICS.dispatches, TOPICS.attempts, TOPICS.dead)


def build(*records: Any) -> dict[str, list[dict[str, Any]]]:
    """The rows, with their columns' names."""
    rows = RowBuilder(TOPICS, compress_min_bytes=1024).build(records)
    return {
        name: [dict(zip(COLUMNS[name], row, strict=True)) for row in group] for name, group in rows.items() if group
    }


def test_an_event_is_one_row() -> None:
    """The row's day is that of the broker's time; its maps are JSON."""
    event = make_event(make_id())
    at_us = NOW_US - 3 * 86_400_000_000
    stored = Log().append(event, appended_at_us=at_us)
    ((row,),) = build(stored).values()

    assert row == {
        "day": day_of(at_us),
        "application_id": event.application_id,
        "event_id": event.event_id,
        "event_type": event.event_type,
        "payload": b"{}",
        "payload_compressed": False,
        "payload_content_type": "application/json",
        "labels": '{"customer":"7"}',
        "metadata": '{"source":"test"}',
        "occurred_at_us": event.occurred_at_us,
        "received_at_us": event.received_at_us,
        "appended_at_us": at_us,
        "ip": "192.0.2.7",
        "event_partition": 0,
        "event_offset": 0,
    }


def test_a_large_body_is_compressed() -> None:
    """The body comes back byte for byte."""
    payload = json.dumps(list(range(2000))).encode()
    ((row,),) = build(Log().append(make_event(make_id(), payload=payload))).values()

    assert row["payload_compressed"]
    assert len(row["payload"]) < len(payload)
    assert payload == unpack_body(row["payload"], compressed=True)


def test_a_dispatch_is_a_row_and_one_for_each_match() -> None:
    """A delivery is there from the moment it is owed, with the id its first attempt will have."""
    event = make_event(make_id())
    dispatch = make_dispatch(event, make_id(), make_id())
    rows = build(Log().append(dispatch))

    assert {"dispatches", "deliveries"} == rows.keys()
    assert 2 == rows["dispatches"][0]["matches_count"]
    assert {1} == {row["routes_version"] for row in rows["dispatches"]}
    assert [
        (match["delivery_id"], match["subscription_id"], derive_attempt_id(match["delivery_id"], 1))
        for match in dispatch.matches
    ] == [(row["delivery_id"], row["subscription_id"], row["first_attempt_id"]) for row in rows["deliveries"]]
    assert {dispatch.appended_at_us} == {row["appended_at_us"] for row in rows["deliveries"]}


def test_an_attempt_is_a_row_that_names_the_next() -> None:
    """Field by field, and the id of the attempt that would follow."""
    attempt = make_attempt(make_dispatch(make_event(make_id()), make_id()), number=3, outcome="failed")
    ((row,),) = build(Log().append(attempt)).values()

    for column in COLUMNS["attempts"]:
        if column not in ("day", "response_compressed", "next_attempt_id"):
            value = getattr(attempt, column)
            assert (json.dumps(value, separators=(",", ":")) if isinstance(value, dict) else value) == row[column]
    assert day_of(attempt.appended_at_us) == row["day"]
    assert derive_attempt_id(attempt.delivery_id, 4) == row["next_attempt_id"]
    assert not row["response_compressed"]


@pytest.mark.parametrize("kind", ["letter", "undecodable"])
def test_a_dead_letter_keeps_the_trace_of_its_record(kind: str) -> None:
    """The context in the record's headers is in the row, of a letter that was read and of one that is made here."""
    log = Log()
    record = log.append(make_dead_letter(make_event(make_id())))
    if kind == "undecodable":
        record = record._replace(topic=TOPICS.attempts.name, value=b"nonsense")
    traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    trace = (("traceparent", traceparent.encode()), ("tracestate", b"vendor=1"))
    ((with_trace,),) = build(record._replace(trace=trace)).values()
    ((without,),) = build(record).values()

    assert (traceparent, "vendor=1") == (with_trace["traceparent"], with_trace["tracestate"])
    assert (None, None) == (without["traceparent"], without["tracestate"])


def test_a_dead_letter_is_a_row() -> None:
    """The row has the record that the letter is about."""
    letter = make_dead_letter(make_event(make_id()))
    ((row,),) = build(Log().append(letter)).values()

    assert day_of(letter.source_appended_at_us) == row["day"]
    for column in COLUMNS["dead_letters"]:
        if column not in ("day", "source_value_compressed", "traceparent", "tracestate", "source_headers"):
            assert getattr(letter, column) == row[column]


def test_what_is_no_event_has_no_row() -> None:
    """Markers, and poison, whose dead letter the matcher writes: nothing is told twice."""
    marker = RoutesChanged(application_id=make_id(), routes_version=1, changed_at_us=0)
    log = Log()
    poison = [
        log.append_raw(TOPICS.events, marker.application_id.encode(), to_bytes(marker)),
        log.append_raw(TOPICS.events, b"k", b"junk"),
        log.append_raw(TOPICS.events, None, None),
        log.append_raw(TOPICS.events, None, to_bytes(make_event(make_id()))),
    ]

    assert {} == build(*poison)


@pytest.mark.parametrize("topic", ARCHIVED[1:], ids=["dispatches", "attempts", "dead"])
@pytest.mark.parametrize(
    ("key", "value"), [(None, None), (b"k", b""), (b"\xff", b"junk"), (b"k", to_bytes(make_event(make_id())))]
)
def test_what_our_topics_must_not_hold_is_a_dead_letter(topic: Topic, key: bytes | None, value: bytes | None) -> None:
    """The record becomes a dead letter with its coordinates, and the records around it are archived."""
    log = Log()
    dispatch = make_dispatch(make_event(make_id()), make_id())
    rows = build(log.append(dispatch), log.append_raw(topic, key, value), log.append(make_attempt(dispatch)))
    (letter,) = rows["dead_letters"]

    assert {"dispatches", "deliveries", "attempts", "dead_letters"} == rows.keys()
    offset = 1 if topic is TOPICS.dispatches else 0
    assert (topic.name, 0, offset) == tuple(
        letter[name] for name in ("source_topic", "source_partition", "source_offset")
    )
    assert (key, value, "undecodable") == (letter["source_key"], letter["source_value"], letter["reason"])
    assert derive_record_id(topic.name, 0, offset, letter["source_appended_at_us"]) == letter["dead_id"]


@pytest.mark.parametrize(
    "fields",
    [
        {"application_id": "7"},
        {"event_id": make_id().upper()},
        {"event_partition": 2**31 - 1, "event_id": ""},
        {"matches": [{"subscription_id": make_id(), "delivery_id": "x"}]},
    ],
)
def test_ids_that_no_column_takes_are_dead_letters(fields: dict[str, Any]) -> None:
    """PostgreSQL would refuse the whole batch, again and again."""
    rows = build(Log().append(change(make_dispatch(make_event(make_id())), **fields)))

    assert ["dead_letters"] == list(rows)


TEXT = st.text(st.characters(codec="utf-8"))
LONG = st.integers(-(2**63), 2**63 - 1)
INT = st.integers(-(2**31), 2**31 - 1)


@given(TEXT, TEXT, LONG, LONG, INT, st.binary(), st.dictionaries(TEXT, TEXT, max_size=3))
def test_every_value_a_record_can_carry_becomes_one_postgresql_takes(
    text: str, detail: str, appended_at_us: int, finished_at_us: int, status: int, body: bytes, headers: dict[str, str]
) -> None:
    """Text without NUL, numbers in their range, a day there is; nothing in the batch can be refused."""
    attempt = change(
        make_attempt(make_dispatch(make_event(make_id()), make_id()), outcome="failed"),
        event_type=text,
        error_class=text,
        error_detail=detail,
        request_url=text,
        appended_at_us=appended_at_us,
        finished_at_us=finished_at_us,
        response_status=status,
        response_body=body,
        response_headers=headers,
    )
    ((row,),) = build(Log().append(attempt)).values()

    for value in row.values():
        assert not isinstance(value, str) or "\x00" not in value
    if "response_headers" in row:  # a status beyond 32 bits, or one bit less, buries the record
        assert headers == json.loads(row["response_headers"])
        assert body == unpack_body(row["response_body"], compressed=row["response_compressed"])


@given(TEXT, TEXT, st.none() | TEXT, LONG)
def test_a_dead_letter_may_name_anything(reason: str, detail: str, some_id: str | None, at_us: int) -> None:
    """Letters come from refused records: a value that is no id is left out, a value that is no text loses its NUL."""
    letter = change(
        make_dead_letter(make_event(make_id())),
        reason=reason,
        detail=detail,
        application_id=some_id,
        event_id=some_id,
        source_appended_at_us=at_us,
    )
    ((row,),) = build(Log().append(letter)).values()

    assert reason.replace("\x00", "\ufffd") == row["reason"]
    assert detail.replace("\x00", "\ufffd") == row["detail"]
    assert row["application_id"] in (None, some_id)


def test_headers_of_a_dead_letter_come_back() -> None:
    """Headers of a producer's record: names as texts, values as bytes or none."""
    headers = ({"name": "ce_type", "value": b"\x00\xff"}, {"name": "empty", "value": None})
    letter = change(make_dead_letter(make_event(make_id())), source_headers=list(headers))
    ((row,),) = build(Log().append(letter)).values()

    assert (("ce_type", b"\x00\xff"), ("empty", None)) == load_headers(row["source_headers"])
    assert () == load_headers(None)
