"""Rows and offsets in one transaction, on a real PostgreSQL."""

import asyncio
from datetime import UTC, datetime
from uuid import uuid4

import psycopg
import pytest
from psycopg.errors import CheckViolation
from pydantic import SecretStr

from pipeline.core.events.content_types import BINARY_TYPE
from pipeline.core.log.positions import HoleError, Step
from pipeline.postgres.archive.dead_letters import note_redriven_events
from pipeline.postgres.archive.tables import TABLES, day_of
from pipeline.postgres.archive.writer import ArchiveBatch, ArchiveWriter, Claimed, FencedError
from pipeline.postgres.pool import open_pool
from tests.integration.archive.records import (
    DAY_US,
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
from tests.integration.archive.tables import (
    Owner,
    configure,
    count_rows,
    is_waiting,
    list_partitions,
    make_batch,
    open_writer,
    read_offsets,
    read_rows,
)
from tests.support.eventually import eventually

EVENTS_0 = (TOPICS.events.name, 0)


async def test_every_record_becomes_its_rows(database: str) -> None:
    """Rows read back from each table hold the values of the records."""
    log = Log()
    event = make_event(make_id(), payload=b'{"n": 1}')
    dispatch = make_dispatch(event, make_id(), make_id())
    attempt, letter = make_attempt(dispatch, outcome="failed"), make_dead_letter(event)
    stored = log.append(event)
    async with open_writer(database) as writer:
        added = await Owner(writer).write(stored, *(log.append(each) for each in (dispatch, attempt, letter)))

    assert {"events": 1, "dispatches": 1, "deliveries": 2, "attempts": 1, "dead_letters": 1} == added
    (row,) = read_rows(database, "events")
    assert (event.event_id, b'{"n": 1}', stored.timestamp_us, event.ip) == (
        row["event_id"],
        row["payload"],
        row["appended_at_us"],
        row["ip"],
    )
    (row,) = read_rows(database, "dispatches")
    assert (event.event_id, 2, 1) == (row["event_id"], row["matches_count"], row["routes_version"])
    assert {match["delivery_id"] for match in dispatch.matches} == {
        row["delivery_id"] for row in read_rows(database, "deliveries")
    }
    (row,) = read_rows(database, "attempts")
    for column in ("attempt_id", "attempt_number", "outcome", "error_class", "response_status", "next_due_at_us"):
        assert getattr(attempt, column) == row[column]
    assert b"thanks" == row["response_body"]
    (row,) = read_rows(database, "dead_letters")
    assert (letter.dead_id, letter.reason, letter.source_value) == (
        row["dead_id"],
        row["reason"],
        row["source_value"],
    )


async def test_an_event_under_the_id_of_another_is_told(database: str) -> None:
    """Another event under a known id is not kept, and logged; the same event at another place in the log is no news."""
    log = Log()
    told: list[int] = []
    first = make_event(make_id(), payload=b'{"n": 1}')
    again, other = log.append(first), make_event(first.application_id, first.event_id, payload=b'{"n": 2}')
    writer = ArchiveWriter(configure(database), on_reused=told.append)
    owner = Owner(writer)
    await owner.write(again, log.append(first), log.append(other))
    await owner.write(log.append(make_event(make_id())), log.append(other), log.append(first))
    await writer.close()

    assert [1, 1] == told
    assert [b'{"n": 1}'] == [
        row["payload"] for row in read_rows(database, "events") if row["event_id"] == first.event_id
    ]


async def test_offsets_are_where_the_rows_are(database: str) -> None:
    """A partition's next owner reads on behind the last row; a partition without archived rows says so."""
    log = Log()
    async with open_writer(database) as writer:
        owner = Owner(writer)
        assert {EVENTS_0: None} == await owner.claim(EVENTS_0)
        await owner.write(*(log.append(make_event(make_id())) for _ in range(3)))

        assert {EVENTS_0: 3} == await Owner(writer).claim(EVENTS_0)
    assert {EVENTS_0: 3} == read_offsets(database)


async def test_a_batch_that_is_repeated_changes_nothing(database: str) -> None:
    """The outcome is unknown after a connection broke at the commit: a repeat is refused, and can be seen."""
    log = Log()
    event = make_event(make_id())
    dispatch = make_dispatch(event, make_id(), make_id())
    records = [log.append(each) for each in (event, dispatch, make_attempt(dispatch), make_dead_letter(event))]
    async with open_writer(database) as writer:
        owner = Owner(writer)
        await owner.claim(*(record.place for record in records))
        batch = make_batch(owner, *records)
        await writer.write(batch)
        before = {table.name: read_rows(database, table.name) for table in TABLES}
        with pytest.raises(HoleError):
            await writer.write(batch)

        assert {record.place: 1 for record in records} == await writer.read_positions(owner.owners)
    assert before == {table.name: read_rows(database, table.name) for table in TABLES}


async def test_records_repeated_in_the_log_are_one_row(database: str) -> None:
    """A record that is written twice after a crash keeps its ids: the first one counts, in one batch and over two."""
    log = Log()
    event = make_event(make_id())
    dispatch = make_dispatch(event, make_id())
    first = [event, dispatch, make_attempt(dispatch)]
    again = [make_event(event.application_id, event.event_id, payload=b"other"), dispatch, make_attempt(dispatch)]
    async with open_writer(database) as writer:
        owner = Owner(writer)
        await owner.write(*(log.append(each) for each in [*first, *again]))
        await owner.write(*(log.append(each) for each in again))

    assert [1, 1, 1, 1] == [count_rows(database, name) for name in ("events", "dispatches", "deliveries", "attempts")]
    assert b"{}" == read_rows(database, "events")[0]["payload"]
    assert {EVENTS_0: 3, (TOPICS.dispatches.name, 0): 3, (TOPICS.attempts.name, 0): 3} == read_offsets(database)


async def test_a_repeated_dispatch_adds_only_what_is_new(database: str) -> None:
    """Matched again after a crash, with routes that had changed: the first row stays, new matches are added."""
    log = Log()
    event = make_event(make_id())
    one, other = make_id(), make_id()
    async with open_writer(database) as writer:
        owner = Owner(writer)
        await owner.write(log.append(make_dispatch(event, one)))
        added = await owner.write(log.append(make_dispatch(event, one, other)))

    assert {"dispatches": 0, "deliveries": 1} == added
    assert {one, other} == {row["subscription_id"] for row in read_rows(database, "deliveries")}


async def test_the_same_id_in_two_applications_is_two_events(database: str) -> None:
    """Ids are unique within an application only."""
    log, event = Log(), make_event(make_id())
    async with open_writer(database) as writer:
        await Owner(writer).write(log.append(event), log.append(make_event(make_id(), event.event_id)))

    assert 2 == count_rows(database, "events")


@pytest.mark.parametrize("days", [-1, 0, 1])
async def test_a_repeat_around_midnight_is_one_row(database: str, days: int) -> None:
    """An event sent again lies on the next day, and what follows from it too: still one row each."""
    midnight_us = NOW_US // DAY_US * DAY_US
    log, event = Log(), make_event(make_id())
    subscription_id = make_id()
    async with open_writer(database) as writer:
        owner = Owner(writer)
        for at_us in (midnight_us - 1000, midnight_us - 1000 + days * DAY_US):
            dispatch = make_dispatch(event, subscription_id, appended_at_us=at_us)
            await writer.ensure_days({day_of(at_us)})
            await owner.write(
                log.append(event, appended_at_us=at_us), log.append(dispatch), log.append(make_attempt(dispatch))
            )

    assert [1, 1, 1, 1] == [count_rows(database, name) for name in ("events", "dispatches", "deliveries", "attempts")]


@pytest.mark.parametrize("days", [0, 1, 2, 20])
async def test_an_event_that_is_redriven_days_later_is_one_row(database: str, days: int) -> None:
    """The record comes again in the log, on another day: its first row stays the only one, and it is matched now."""
    log, event = Log(), make_event(make_id())
    first_us = NOW_US - days * DAY_US
    letter = change(make_dead_letter(event), source_appended_at_us=first_us)
    async with open_writer(database) as writer:
        owner = Owner(writer)
        await writer.ensure_days({day_of(first_us), day_of(NOW_US)})
        await owner.write(log.append(event, appended_at_us=first_us), log.append(letter))
        pool = await open_pool(configure(database), SecretStr(database), name="test")
        await note_redriven_events(pool, [letter.dead_id], topic=TOPICS.events.name)  # type: ignore[attr-defined]  # `change` knows no class
        await pool.close()
        await owner.write(log.append(event, appended_at_us=NOW_US), log.append(make_dispatch(event, make_id())))

    (row,) = read_rows(database, "events")
    assert str(day_of(first_us)) == row["day"]
    assert 1 == count_rows(database, "deliveries")


async def test_all_or_nothing(database: str) -> None:
    """A row that is refused takes its batch with it: rows, offsets and all."""
    log = Log()
    good, bad = log.append(make_event(make_id())), log.append(make_event(make_id()))
    async with open_writer(database) as writer:
        owner = Owner(writer)
        await owner.claim(EVENTS_0)
        batch = make_batch(owner, good, bad)
        row = list(batch.rows["events"][1])
        row[2] = "no uuid"
        batch.rows["events"][1] = tuple(row)
        with pytest.raises(psycopg.DataError):
            await writer.write(batch)
        assert 0 == count_rows(database, "events")
        assert {EVENTS_0: -1} == read_offsets(database)

        # and the writer goes on with another connection
        await owner.write(good, bad)
    assert 2 == count_rows(database, "events")


async def test_a_former_owner_is_fenced_off(database: str) -> None:
    """A process that was away, and whose partitions another one has, writes nothing any more; not even others' rows."""
    log = Log()
    first, second = log.append(make_event(make_id())), log.append(make_event(make_id()))
    dispatch = log.append(make_dispatch(make_event(make_id()), make_id()))
    async with open_writer(database) as writer, open_writer(database) as other_writer:
        frozen, other = Owner(writer), Owner(other_writer)
        await frozen.write(first)
        await frozen.claim(dispatch.place)
        assert {EVENTS_0: 1} == await other.claim(EVENTS_0)
        with pytest.raises(FencedError, match="1 of 2 partitions have another owner"):
            await frozen.write(second, dispatch)

        assert 1 == count_rows(database, "events")
        assert 0 == count_rows(database, "dispatches")
        await other.write(second)
        # what is still its own it may write
        await frozen.write(dispatch)
    assert 2 == count_rows(database, "events")
    assert {EVENTS_0: 2, dispatch.place: 1} == read_offsets(database)


async def test_claiming_waits_for_the_owner_before(database: str) -> None:
    """Where to read on is asked when the transaction that is under way has ended."""
    log = Log()
    async with open_writer(database) as writer, open_writer(database) as other_writer:
        owner = Owner(writer)
        await owner.write(log.append(make_event(make_id())))
        async with await psycopg.AsyncConnection.connect(database) as connection:
            # the first statement of a batch under way
            await connection.execute(
                "update archive_offsets set from_offset = 1, next_offset = 5, records = 4, vacant = 0 where topic = %s",
                (EVENTS_0[0],),
            )
            claiming = asyncio.create_task(Owner(other_writer).claim(EVENTS_0))
            await eventually(lambda: is_waiting(database))
            assert not claiming.done()
            await connection.commit()

        assert {EVENTS_0: 5} == await claiming


async def test_an_owner_frozen_while_it_sends_rows_is_ended(database: str) -> None:
    """A process stands still in the middle of a COPY, which no time-out of PostgreSQL ends: its successor ends it."""
    log = Log()
    async with open_writer(database) as writer, open_writer(database) as successor:
        owner = Owner(writer)
        await owner.write(log.append(make_event(make_id())))
        frozen = await psycopg.AsyncConnection.connect(database)
        await frozen.execute("select from archive_offsets where topic = %s for update", (EVENTS_0[0],))
        await frozen.execute("create temporary table staged (id int) on commit drop")
        frozen.pgconn.exec_(b"copy staged from stdin")  # and no row follows

        claimed = await Owner(successor).claim(EVENTS_0)

        assert {EVENTS_0: 1} == claimed
        pid = frozen.info.backend_pid

        def is_gone() -> bool:
            """The session has ended: a moment ago its locks were free already."""
            with psycopg.connect(database) as onlooker:
                row = onlooker.execute("select count(*) from pg_stat_activity where pid = %s", (pid,)).fetchone()
            return row == (0,)

        await eventually(is_gone)
        await frozen.close()
        with pytest.raises(FencedError):
            await owner.write(log.append(make_event(make_id())))


@pytest.mark.parametrize(
    "change",
    [
        "next_offset = 5",
        "from_offset = 3, next_offset = 5, records = 2",
        "from_offset = 1, next_offset = 5, records = 3",
        "from_offset = 1, next_offset = 0, records = -1",
        "next_offset = 0, from_offset = 0, records = 0",
        "partition = 1",
    ],
)
async def test_postgres_refuses_a_position_that_does_not_follow(database: str, change: str) -> None:
    """A writer with another start than the position, a count that does not add up, or a step backwards is refused."""
    async with open_writer(database) as writer:
        await Owner(writer).write(Log().append(make_event(make_id())))
    with psycopg.connect(database) as connection, pytest.raises((psycopg.errors.RaiseException, CheckViolation)):
        connection.execute(b"update archive_offsets set " + change.encode())

    assert {EVENTS_0: 1} == read_offsets(database)


async def test_a_batch_that_does_not_continue_is_refused(database: str) -> None:
    """The skipped records would never be read again: nothing of such a batch is written, whatever its writer claims."""
    log = Log()
    first, _, third = (log.append(make_event(make_id())) for _ in range(3))
    async with open_writer(database) as writer:
        owner = Owner(writer)
        await owner.write(first)
        with pytest.raises(HoleError, match="is written up to 1, and the next record is that at 2"):
            await owner.write(third)
        batch = ArchiveBatch(
            steps={EVENTS_0: Step(2, 3, 1, 0)}, owners=owner.owners, rows=make_batch(Owner(writer)).rows
        )
        with pytest.raises(HoleError, match="is written up to 1, not 2"):
            await writer.write(batch)

    assert 1 == count_rows(database, "events")
    assert {EVENTS_0: 1} == read_offsets(database)


async def test_an_offset_without_a_record_is_stepped_over_when_it_is_said(database: str) -> None:
    """The end of a transaction, what retention or compaction took: the writer says so, and PostgreSQL counts it."""
    log = Log()
    first, _, third = (log.append(make_event(make_id())) for _ in range(3))
    async with open_writer(database) as writer:
        owner = Owner(writer)
        await owner.write(first)
        owner.positions.note_vacant(EVENTS_0, 1, 2)
        await owner.write(third)

    assert {EVENTS_0: 3} == read_offsets(database)
    with psycopg.connect(database) as connection:
        row = connection.execute("select from_offset, records, vacant from archive_offsets").fetchone()
    assert (1, 1, 1) == row


async def test_two_that_claim_the_same_do_not_deadlock(database: str) -> None:
    """Several processes claim many partitions at once in a rebalance, in any order."""
    places = [(TOPICS.events.name, number) for number in range(20)]
    writers = [ArchiveWriter(configure(database)) for _ in range(4)]
    rounds = []
    for number in range(5):
        claims = [
            writer.claim({place: uuid4() for place in (places if number % 2 else reversed(places))})
            for writer in writers
        ]
        rounds.append(await asyncio.gather(*claims))
    for writer in writers:
        await writer.close()

    assert [[dict.fromkeys(places, Claimed(None, None))] * 4] * 5 == rounds


async def test_days_are_made_when_rows_need_them(database: str) -> None:
    """Each day is made once; a day that exists costs no statement."""
    today = datetime.now(UTC).date()
    async with open_writer(database) as writer:
        await writer.ensure_days({today})
        await writer.ensure_days({today})
        await writer.ensure_days(set())

    for table in TABLES:
        assert [table.partition_of(today), table.default_partition] == list_partitions(database, table.name)


async def test_a_connection_that_was_ended_is_replaced(database: str) -> None:
    """The batch fails once, and can be repeated."""
    log = Log()
    async with open_writer(database) as writer:
        owner = Owner(writer)
        await owner.write(log.append(make_event(make_id())))
        record = log.append(make_event(make_id()))
        with psycopg.connect(database, autocommit=True) as connection:
            ended = connection.execute(
                "select count(pg_terminate_backend(pid)) from pg_stat_activity "
                "where datname = current_database() and application_name = 'hookline-archive'"
            ).fetchone()
        assert ended == (1,)
        with pytest.raises(psycopg.OperationalError):
            await owner.write(record)

        assert {"events": 1} == await owner.write(record)


async def test_a_batch_of_thousands(database: str) -> None:
    """A batch of the largest allowed size, with large bodies, comes back byte for byte."""
    log, application_id = Log(), make_id()
    payloads = {make_id(): bytes([number % 256]) * (number * 7 % 5000) for number in range(3000)}
    events = [
        change(make_event(application_id, each, payload=payload), payload_content_type=BINARY_TYPE)
        for each, payload in payloads.items()
    ]
    async with open_writer(database) as writer:
        added = await Owner(writer).write(*map(log.append, events))

    assert {"events": 3000} == added
