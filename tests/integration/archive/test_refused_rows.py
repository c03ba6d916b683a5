"""One row that cannot be written stops nothing: its record becomes a dead letter, all others are written."""

import asyncio

import psycopg
import pytest
from prometheus_client import generate_latest
from structlog.testing import capture_logs

from connectors.sink import LogRecord
from pipeline.core.events.records import from_bytes
from tests.integration.archive.archive_site import ArchiveSite
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


# the rows of each table that an operator wants only once a day
INDEXED = {
    "events": "application_id, event_type",
    "dispatches": "application_id, event_type",
    "deliveries": "application_id, subscription_id",
    "attempts": "application_id, subscription_id, attempt_number",
    "dead_letters": "application_id, reason",
}
DROP_SILENTLY = (
    "create function leave_out() returns trigger language plpgsql as $$ begin return null; end $$; "
    "create trigger leave_out before insert on {table} for each row when (new.{column} = '{poison}') "
    "execute function leave_out()"
)


def execute(database: str, statement: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(statement.encode())


def refuse(database: str, table: str, how: str) -> None:
    execute(database, REFUSALS[how].format(table=table, column=COLUMNS[table], poison=POISON))


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


@pytest.mark.parametrize("table", COLUMNS)
async def test_a_record_whose_letter_is_refused_as_well_is_set_aside(database: str, table: str) -> None:
    """The archive has nothing of it and says so, with its place and both reasons; it has all others, and goes on."""
    log, count = Log(), 40
    records, poison = write_some(log, table, count)
    refuse(database, table, "trigger")
    execute(database, "alter table dead_letters add constraint few_reasons check (reason <> 'unwritable') not valid")
    with capture_logs() as lines:
        async with open_sink(database) as (sink, outage, metrics):
            await sink.assigned({record.place: None for record in records})
            await sink.put(records)
            await sink.put([log.append(make(make_id()))])
            assert outage.check() is None
            figures = generate_latest(metrics.registry).decode()

    expected = dict.fromkeys(COLUMNS, count) | {"events": count + 1}
    for name in ("dispatches", "deliveries") if table in ("dispatches", "deliveries") else (table,):
        expected[name] -= 1
    assert expected == {name: count_rows(database, name) for name in COLUMNS}
    (line,) = [line for line in lines if line["event"] == "record_set_aside"]
    assert (poison.topic, poison.partition, poison.offset) == (line["topic"], line["partition"], line["offset"])
    assert "not this one" in line["refused_first"]
    assert "few_reasons" in line["reason"]
    assert f'hookline_archive_set_aside_total{{topic="{poison.topic}"}} 1.0' in figures
    assert 'hookline_dead_total{reason="unwritable"} 0.0' in figures


async def test_what_cannot_be_read_and_has_no_letter_is_set_aside(database: str) -> None:
    """The letter of an unreadable record is made without asking PostgreSQL first."""
    log = Log()
    records = [log.append_raw(TOPICS.attempts, b"k", b"nonsense"), log.append(make(make_id()))]
    execute(database, "alter table dead_letters add constraint none check (false) not valid")
    async with open_sink(database) as (sink, _, metrics):
        await sink.assigned({record.place: None for record in records})
        await sink.put(records)
        figures = generate_latest(metrics.registry).decode()

    assert [1, 0] == [count_rows(database, name) for name in ("events", "dead_letters")]
    assert f'hookline_archive_set_aside_total{{topic="{TOPICS.attempts.name}"}} 1.0' in figures


async def test_the_archive_outlives_a_letter_that_is_refused(kafka: str, topic_prefix: str, database: str) -> None:
    """The process ended, and each one after it. A record that was set aside comes from the log with a rebuild."""
    site = await ArchiveSite(kafka, topic_prefix, database, partitions=1).prepare()
    refuse(database, "dead_letters", "constraint")
    execute(database, "alter table dead_letters add constraint few_reasons check (reason <> 'unwritable')")
    event = make(make_id())
    async with site.archive():
        site.write(event, change(make_dead_letter(event), reason=POISON), make_dead_letter(event), make(make_id()))
        site.flush()
        await eventually(lambda: [count_rows(database, name) for name in ("events", "dead_letters")] == [2, 1])
    execute(database, "alter table dead_letters drop constraint no_poison")
    execute(database, "delete from archive_offsets")
    async with site.archive():
        await eventually(lambda: count_rows(database, "dead_letters") == 2)

    assert {POISON, "unknown_event_type"} == {str(row["reason"]) for row in read_rows(database, "dead_letters")}


@pytest.mark.parametrize("table", COLUMNS)
async def test_only_the_key_makes_a_repeat(database: str, table: str) -> None:
    """A row that an operator's unique index refuses was taken for a repeat: it was dropped, and nothing said so."""
    log = Log()
    execute(database, f"create unique index once_a_day on {table} ({INDEXED[table]}, day)")
    application, subscription = make_id(), make_id()
    records = []
    for _ in range(3):
        event = make(application)
        dispatch = make_dispatch(event, subscription)
        records += [log.append(each) for each in (event, dispatch, make_attempt(dispatch), make_dead_letter(event))]
    async with open_sink(database) as (sink, _, metrics):
        await sink.assigned({record.place: None for record in records})
        await sink.put(records)
        # a repeat that a topic has once more, after a restart of the process that writes it
        await sink.put([log.append_raw(TOPICS.events, records[0].key, records[0].value)])
        figures = generate_latest(metrics.registry).decode()

    refused = [str(row["detail"]) for row in read_rows(database, "dead_letters") if row["reason"] == "unwritable"]
    expected = 2  # of three alike
    if table == "dead_letters":  # whose letters have another reason, of which one a day may be there as well
        assert f'hookline_archive_set_aside_total{{topic="{TOPICS.dead.name}"}} 1.0' in figures
        expected = 1
    assert expected == len(refused)
    assert all(detail.startswith("UniqueViolation") for detail in refused)
    assert 1 == count_rows(database, table) - (len(refused) if table == "dead_letters" else 0)


@pytest.mark.parametrize("table", COLUMNS)
async def test_rows_that_are_left_out_silently_are_missed(database: str, table: str) -> None:
    """A trigger of the operator's may drop a row without an error; it is refused like any other, and said."""
    log, count = Log(), 40
    records, poison = write_some(log, table, count)
    execute(database, DROP_SILENTLY.format(table=table, column=COLUMNS[table], poison=POISON))
    async with open_sink(database) as (sink, _, _):
        await sink.assigned({record.place: None for record in records})
        await sink.put(records)

    (letter,) = [row for row in read_rows(database, "dead_letters") if row["reason"] == "unwritable"]
    assert (poison.topic, poison.offset) == (letter["source_topic"], letter["source_offset"])
    assert "left them out" in letter["detail"]


async def test_positions_that_are_refused_are_waited_for(database: str) -> None:
    """No record can be set aside for that: health names the constraint, and the archive goes on when it is gone."""
    log = Log()
    records = [log.append(make(make_id())) for _ in range(10)]
    async with open_sink(database) as (sink, outage, _):
        await sink.assigned({record.place: None for record in records})
        execute(database, "alter table archive_offsets add constraint small check (next_offset < 5)")
        putting = asyncio.create_task(sink.put(records))
        await eventually(lambda: "small" in (outage.check() or ""))
        waiting = count_rows(database, "events")
        execute(database, "alter table archive_offsets drop constraint small")
        await putting

    assert 0 == waiting
    assert 10 == count_rows(database, "events")
    assert 0 == count_rows(database, "dead_letters")


async def test_a_key_that_is_gone_is_waited_for(database: str) -> None:
    """A table without its primary key cannot tell repeats: nothing is written until it is back, and health says so."""
    log = Log()
    records = [log.append(make(make_id())) for _ in range(10)]
    async with open_sink(database) as (sink, outage, _):
        await sink.assigned({record.place: None for record in records})
        execute(database, "alter table events drop constraint events_pkey")
        putting = asyncio.create_task(sink.put(records))
        await eventually(lambda: "ON CONFLICT" in (outage.check() or ""))
        execute(database, "alter table events add primary key (application_id, event_id, day)")
        await putting

    assert 10 == count_rows(database, "events")
