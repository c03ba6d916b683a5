"""Day partitions on a real PostgreSQL: made ahead, made on demand, dropped; beside writers and readers."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from pipeline.config import ArchiveConfig
from pipeline.core.events.content_types import BINARY_TYPE
from pipeline.metrics import Metrics
from pipeline.postgres.archive.partitions import ensure_days, list_days
from pipeline.postgres.archive.tables import EVENTS, TABLES, day_of
from pipeline.postgres.archive.upkeep import Upkeep
from tests.integration.archive.records import DAY_US, NOW_US, Log, change, make_dispatch, make_event, make_id
from tests.integration.archive.tables import (
    Owner,
    configure,
    connect,
    count_rows,
    is_waiting,
    list_partitions,
    open_writer,
    read_rows,
)
from tests.support.beside import beside
from tests.support.eventually import eventually

TODAY = day_of(NOW_US)
ONE_DAY = timedelta(days=1)


async def test_days_are_made_ahead_once(database: str) -> None:
    """Today's and the next ones, of every table; again, there is nothing to do."""
    async with await connect(database) as connection:
        days = [TODAY, TODAY + ONE_DAY, TODAY + 2 * ONE_DAY]
        made = await ensure_days(connection, days)

        assert sorted(table.partition_of(day) for table in TABLES for day in days) == sorted(made)
        assert [] == await ensure_days(connection, days)
        assert set(days) == await list_days(connection, EVENTS)


async def test_rows_go_to_their_day(database: str) -> None:
    """A row of a day that has a partition is there, one of another day in the default partition."""
    log = Log()
    odd_us = NOW_US - 400 * DAY_US
    async with open_writer(database) as writer, await connect(database) as connection:
        await ensure_days(connection, [TODAY, TODAY + ONE_DAY])
        await Owner(writer).write(
            log.append(make_event(make_id())), log.append(make_event(make_id()), appended_at_us=odd_us)
        )

    assert [EVENTS.partition_of(TODAY), EVENTS.default_partition] == sorted(
        row["part"] for row in read_rows(database, "events")
    )


async def test_rows_that_waited_in_the_default_partition_move(database: str) -> None:
    """A day that gets its partition late takes its rows along, bodies included; the others stay."""
    log, payload = Log(), bytes(range(256)) * 20
    odd_us = NOW_US - 400 * DAY_US
    async with open_writer(database) as writer, await connect(database) as connection:
        event = change(make_event(make_id(), payload=payload), payload_content_type=BINARY_TYPE)
        dispatch = make_dispatch(make_event(make_id()), make_id())
        await Owner(writer).write(
            log.append(event), log.append(dispatch), log.append(make_event(make_id()), appended_at_us=odd_us)
        )
        before = read_rows(database, "events")
        assert {EVENTS.default_partition} == {row["part"] for row in before}
        await ensure_days(connection, [TODAY])
        after = read_rows(database, "events")

    def without_part(rows: list[dict[str, object]]) -> list[dict[str, object]]:
        return sorted(({**row, "part": None} for row in rows), key=lambda row: str(row["event_id"]))

    assert without_part(before) == without_part(after)
    assert {EVENTS.partition_of(TODAY): 1, EVENTS.default_partition: 1} == {
        part: sum(row["part"] == part for row in after) for part in {row["part"] for row in after}
    }
    assert [f"deliveries_{TODAY:%Y%m%d}"] == [row["part"] for row in read_rows(database, "deliveries")]


async def test_a_row_of_a_day_is_unique_wherever_it_lies(database: str) -> None:
    """A repeat is noticed also when the first one was written before its day had a partition."""
    log, event = Log(), make_event(make_id())
    async with open_writer(database) as writer, await connect(database) as connection:
        owner = Owner(writer)
        await owner.write(log.append(event))
        await ensure_days(connection, [TODAY])
        await owner.write(log.append(event))

    assert 1 == count_rows(database, "events")


async def test_writing_goes_on_while_days_are_made(database: str) -> None:
    """A row may meet the very moment in which its day gets a partition: nothing is lost, nothing is there twice."""
    log = Log()
    days = [TODAY + number * ONE_DAY for number in range(10)]
    records = [log.append(make_event(make_id()), appended_at_us=NOW_US + number % 10 * DAY_US) for number in range(400)]
    async with open_writer(database) as writer, await connect(database) as connection:
        owner = Owner(writer)

        async def write_all() -> None:
            for at in range(0, len(records), 10):
                while True:
                    try:
                        await owner.write(*records[at : at + 10])
                        break
                    except (psycopg.OperationalError, psycopg.errors.CheckViolation):
                        pass  # what the sink sits out

        async def make_all() -> None:
            for day in days:
                await ensure_days(connection, [day])

        await asyncio.gather(write_all(), make_all())

    assert 400 == count_rows(database, "events")
    assert {day_of(record.timestamp_us) for record in records} == set(days)
    assert 0 == count_rows(database, EVENTS.default_partition)


async def test_a_long_read_delays_the_care_and_nobody_else(database: str) -> None:
    """A partition is not made behind a lock that others would queue up behind: it gives way, and is made later."""
    async with (
        await connect(database) as connection,
        await psycopg.AsyncConnection.connect(database) as reader,
        open_writer(database) as writer,
    ):
        await reader.execute("lock table events_default in access share mode")
        await connection.execute("set deadlock_timeout = '10s'")  # it waits for half of that
        caring = asyncio.create_task(ensure_days(connection, [TODAY]))
        await eventually(lambda: is_waiting(database))
        # while it waits for the reader, another one reads
        assert 0 == count_rows(database, "attempts")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            await caring
        await Owner(writer).write(Log().append(make_event(make_id())))
        await reader.commit()
        assert len(TABLES) == len(await ensure_days(connection, [TODAY]))

    assert [EVENTS.partition_of(TODAY)] == [row["part"] for row in read_rows(database, "events")]


async def test_a_read_of_two_tables_is_not_failed_by_the_care(database: str) -> None:
    """The care waits for a table that a read has, and has no other one: the read takes all of them, and goes on."""
    async with await connect(database) as connection, await psycopg.AsyncConnection.connect(database) as reader:
        await reader.execute("select from attempts")
        await connection.execute("set deadlock_timeout = '10s'")
        caring = asyncio.create_task(ensure_days(connection, [TODAY]))
        await eventually(lambda: is_waiting(database))
        for table in TABLES:
            await reader.execute(SQL("select from {}").format(Identifier(table.name)))
        await reader.commit()
        made = await caring

    assert [table.partition_of(TODAY) for table in TABLES] == made


async def test_a_partition_detached_by_hand(database: str) -> None:
    """The day's new rows go to the default partition, since its name is taken. Health names the table, other days are
    made and leave; once the name is free again the rows move to where they belong."""
    log, today = Log(), datetime.now(UTC).date()
    now_us = round(datetime.now(UTC).timestamp() * 1_000_000)
    config, metrics = ArchiveConfig(days_ahead=1, retention_days=1), Metrics("archive")
    upkeep = Upkeep(configure(database), config, metrics)
    old = [today - number * ONE_DAY for number in (10, 20)]
    async with open_writer(database) as writer, await connect(database) as connection:
        await ensure_days(connection, [today, *old])
        await Owner(writer).write(log.append(make_event(make_id()), appended_at_us=now_us))
        for day in (today, old[1]):
            await connection.execute(f"alter table events detach partition {EVENTS.partition_of(day)}".encode())
    async with open_writer(database) as writer:
        owner = Owner(writer)
        for _ in range(2):
            await writer.ensure_days([today])
            await owner.write(log.append(make_event(make_id()), appended_at_us=now_us))
    assert {EVENTS.default_partition} == {row["part"] for row in read_rows(database, "events")}

    async with beside(upkeep.run()):
        await eventually(lambda: EVENTS.partition_of(today) in (upkeep.check() or ""))
        await eventually(lambda: [EVENTS.partition_of(today + ONE_DAY)] == list_partitions(database, "events")[:-1])
        await eventually(lambda: 3 == len(list_partitions(database, "attempts")))
    async with await connect(database) as connection:
        for day in (today, old[1]):
            name = EVENTS.partition_of(day)
            await connection.execute(f"alter table {name} rename to kept_{day:%Y%m%d}".encode())
        await ensure_days(connection, [today])
        rows = read_rows(database, "events")
        assert {EVENTS.partition_of(today): 2} == Counter(row["part"] for row in rows)


async def test_the_care_is_counted(database: str) -> None:
    """The figures say how many days there are: an alert asks whether there is one for tomorrow."""
    metrics = Metrics("archive")
    today = datetime.now(UTC).date()
    config = ArchiveConfig(days_ahead=2, retention_days=1)
    async with beside(Upkeep(configure(database), config, metrics).run()):
        await eventually(lambda: metrics.archive_partitions.labels("events")._value.get() == 3)  # noqa: SLF001 - no other way to read one

    assert [EVENTS.partition_of(today + number * ONE_DAY) for number in range(3)] == list_partitions(
        database, "events"
    )[:3]
