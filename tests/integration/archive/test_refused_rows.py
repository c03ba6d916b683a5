"""One row that cannot be written stops nothing: its record becomes a dead letter, all others are written."""

import asyncio

import psycopg
import pytest
from prometheus_client import generate_latest

from connectors.sink import LogRecord
from pipeline.core.events.records import from_bytes
from tests.integration.archive.records import (
    TOPICS,
    Log,
    change,
    make_attempt,
    make_dead_letter,
    make_dispatch,
    make_id,
)
from tests.integration.archive.records import make_event as make
from tests.integration.archive.tables import count_rows, read_offsets, read_rows
from tests.integration.archive.test_sink import open_sink
from tests.support.eventually import eventually

POISON = "poison.event"
# each is refused by another layer: a constraint, a trigger of the operator's, an index entry that is too large
REFUSALS = {
    "constraint": "alter table {table} add constraint no_poison check ({column} <> '{poison}')",
    "trigger": (
        "create function refuse() returns trigger language plpgsql as $$ begin raise exception 'not this one'; end $$; "
        "create trigger refuse before insert on {table} for each row when (new.{column} = '{poison}') "
        "execute function refuse()"
    ),
    "cast": "create index on {table} ((case when {column} = '{poison}' then {column}::int end))",
}
COLUMNS = {
    "events": "event_type",
    "dispatches": "event_type",
    "deliveries": "event_type",
    "attempts": "event_type",
    "dead_letters": "reason",
}


def refuse(database: str, table: str, how: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(REFUSALS[how].format(table=table, column=COLUMNS[table], poison=POISON).encode())


def write_some(log: Log, table: str, count: int) -> tuple[list[LogRecord], LogRecord]:
    """Records of every kind, and among them one of which a row in `table` is refused."""
    records: list[LogRecord] = []
    poison: LogRecord | None = None
    for number in range(count):
        event = make(make_id())
        is_poison = number == count // 3
        if is_poison and table != "dead_letters":
            event = change(event, event_type=POISON)  # type: ignore[assignment]
        dispatch = make_dispatch(event, make_id())
        letter = make_dead_letter(event)
        if is_poison and table == "dead_letters":
            letter = change(letter, reason=POISON)  # type: ignore[assignment]
        own = {
            "events": log.append(event),
            "dispatches": log.append(dispatch),
            "attempts": log.append(make_attempt(dispatch)),
            "dead_letters": log.append(letter),
        }
        records += own.values()
        if is_poison:
            poison = own["dispatches" if table == "deliveries" else table]
    assert poison is not None
    return records, poison


@pytest.mark.parametrize("how", REFUSALS)
@pytest.mark.parametrize("table", COLUMNS)
async def test_the_rest_of_the_batch_is_written(database: str, table: str, how: str) -> None:
    """The letter has the record's bytes, where it lay, whose it was and why; it is counted; the position moves on."""
    log, count = Log(), 40
    records, poison = write_some(log, table, count)
    refuse(database, table, how)
    async with open_sink(database) as (sink, outage, metrics):
        await sink.assigned({record.place: None for record in records})
        await sink.put(records)
        assert outage.check() is None
        figures = generate_latest(metrics.registry).decode()

    expected = dict.fromkeys(COLUMNS, count) | {"dead_letters": count + 1}
    for name in ("dispatches", "deliveries") if table in ("dispatches", "deliveries") else (table,):
        expected[name] -= 1  # all rows of a record, or none
    assert expected == {name: count_rows(database, name) for name in COLUMNS}
    assert dict.fromkeys({record.place for record in records}, count) == read_offsets(database)
    (letter,) = [row for row in read_rows(database, "dead_letters") if row["reason"] == "unwritable"]
    assert (poison.topic, poison.offset, poison.value) == (
        letter["source_topic"],
        letter["source_offset"],
        letter["source_value"],
    )
    assert letter["detail"]
    assert getattr(from_bytes(poison.value or b""), "event_id", None) == letter["event_id"]
    assert 'hookline_dead_total{reason="unwritable"} 1.0' in figures


async def test_what_concerns_every_row_is_waited_for(database: str) -> None:
    """A table that is gone is no record's fault: nothing becomes a dead letter, nothing is passed, and it is named."""
    log = Log()
    records = [log.append(make(make_id())), log.append(make_attempt(make_dispatch(make(make_id()), make_id())))]
    async with open_sink(database) as (sink, outage, _):
        await sink.assigned({record.place: None for record in records})
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute("alter table attempts rename to attempts_gone")
            putting = asyncio.create_task(sink.put(records))
            await eventually(lambda: 'relation "attempts" does not exist' in (outage.check() or ""))
            waiting = [count_rows(database, name) for name in ("events", "dead_letters")]
            connection.execute("alter table attempts_gone rename to attempts")
        await putting

    assert [0, 0] == waiting
    assert [1, 1, 0] == [count_rows(database, name) for name in ("events", "attempts", "dead_letters")]
    assert outage.check() is None


async def test_a_row_too_large_for_an_index_is_no_outage(database: str) -> None:
    """PostgreSQL reports it in the class of its own limits, which was sat out for ever."""
    log = Log()
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("create index on attempts (request_url)")
    dispatch = make_dispatch(make(make_id()), make_id(), make_id())
    long = "https://example.test/" + "".join(make_id() for _ in range(2000))
    records = [log.append(change(make_attempt(dispatch), request_url=long)), log.append(make_attempt(dispatch, 1))]
    async with open_sink(database) as (sink, _, _):
        await sink.assigned({record.place: None for record in records})
        await sink.put(records)

    assert 1 == count_rows(database, "attempts")
    assert ["unwritable"] == [row["reason"] for row in read_rows(database, "dead_letters")]


async def test_wrong_bytes_are_never_stored(database: str) -> None:
    """An event whose content does not have its checksum any more has no row; the matcher writes its dead letter."""
    log = Log()
    event = change(make(make_id(), payload=b'{"altered": 1}'), content_crc32=1)
    async with open_sink(database) as (sink, _, _):
        await sink.assigned({(TOPICS.events.name, 0): None})
        await sink.put([log.append(event), log.append(make(make_id()))])

    assert 1 == count_rows(database, "events")
    assert {(TOPICS.events.name, 0): 2} == read_offsets(database)


async def test_what_is_refused_at_the_commit_is_found(database: str) -> None:
    """A constraint that an operator deferred says so when all rows are written."""
    log, count = Log(), 40
    records, poison = write_some(log, "events", count)
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("create table known_types (name text primary key)")
        connection.execute("insert into known_types select 'billing.invoice.paid'")
        connection.execute(
            "alter table events add foreign key (event_type) references known_types deferrable initially deferred"
        )
    async with open_sink(database) as (sink, _, _):
        await sink.assigned({record.place: None for record in records})
        await sink.put(records)

    (letter,) = [row for row in read_rows(database, "dead_letters") if row["reason"] == "unwritable"]
    assert poison.offset == letter["source_offset"]
    assert count - 1 == count_rows(database, "events")


async def test_rows_that_are_refused_together_are_written_apart(database: str) -> None:
    """No row alone is refused, so that none is left out, and the process does not end for it either."""
    log = Log()
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            "create function refuse() returns trigger language plpgsql as $$ begin "
            "if (select count(*) from added) > 3 then raise exception 'too many'; end if; return null; end $$"
        )
        connection.execute(
            "create trigger refuse after insert on events referencing new table as added "
            "for each statement execute function refuse()"
        )
    records = [log.append(make(make_id())) for _ in range(10)]
    async with open_sink(database) as (sink, _, _):
        await sink.assigned({record.place: None for record in records})
        await sink.put(records)

    assert 10 == count_rows(database, "events")
    assert 0 == count_rows(database, "dead_letters")
