"""The archive sink by itself, on a real PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
import pytest
from prometheus_client import generate_latest

from connectors.postgres.rows import RowBuilder
from connectors.postgres.sink import ArchiveSink
from pipeline.config import ArchiveConfig, KafkaConfig
from pipeline.kafka.read_faults import ReadFaults
from pipeline.kafka.topic_ids import TopicIds
from pipeline.metrics import Metrics
from pipeline.postgres.archive.lock_holder import LockHolder
from pipeline.postgres.archive.outage import Outage
from pipeline.postgres.archive.writer import FencedError
from tests.integration.archive.records import TOPICS, Log, make_dispatch, make_event, make_id
from tests.integration.archive.tables import configure, count_rows, is_waiting, open_writer, read_offsets, read_rows
from tests.support.eventually import eventually

EVENTS_0 = (TOPICS.events.name, 0)


@asynccontextmanager
async def open_sink(database: str) -> AsyncIterator[tuple[ArchiveSink, Outage, Metrics]]:
    outage, metrics = Outage(), Metrics("archive")
    async with open_writer(database) as writer:
        rows = RowBuilder(TOPICS, compress_min_bytes=1024)
        ids = TopicIds(KafkaConfig(bootstrap_servers="127.0.0.1:1"), ())  # which knows none
        sink = ArchiveSink(writer, rows, outage, ArchiveConfig(), metrics, ids, ReadFaults(metrics))
        yield sink, outage, metrics


async def test_where_to_read_on(database: str) -> None:
    """Reading goes on behind the last row, or from the beginning where there is none, whatever Kafka remembers."""
    log = Log()
    async with open_sink(database) as (sink, _, _):
        assert {EVENTS_0: 0} == await sink.assigned({EVENTS_0: None})
        await sink.put([log.append(make_event(make_id())) for _ in range(3)])
    async with open_sink(database) as (sink, _, _):
        assert {EVENTS_0: 3} == await sink.assigned({EVENTS_0: None})


async def test_a_log_that_was_made_again_is_archived_from_its_beginning(database: str) -> None:
    """A topic deleted and made again, a tail lost in a power cut: rows stay, and the new records are written, once."""
    log, again = Log(), Log()
    async with open_sink(database) as (sink, _, _):
        await sink.assigned({EVENTS_0: None})
        await sink.put([log.append(make_event(make_id())) for _ in range(5)])
        waiting = [log.append(make_event(make_id())) for _ in range(2)]
        sink.positions.set_back(EVENTS_0, 0)
        # what was read of the old log and waits is written before what was read of the new one
        await sink.put([*waiting, *(again.append(make_event(make_id())) for _ in range(3))])
        await sink.put([again.append(make_event(make_id()))])
    assert 11 == count_rows(database, "events")
    async with open_sink(database) as (sink, _, _):
        assert {EVENTS_0: 4} == await sink.assigned({EVENTS_0: None})


async def test_a_lost_tail_is_met_once(database: str) -> None:
    """A restart before anything new is written begins where the log ends now, not behind it once more."""
    log = Log()
    async with open_sink(database) as (sink, _, _):
        await sink.assigned({EVENTS_0: None})
        await sink.put([log.append(make_event(make_id())) for _ in range(5)])
        sink.positions.set_back(EVENTS_0, 3)
        sink.positions.reached(EVENTS_0, 3)
        await eventually(lambda: find_position(database) == 3)
    async with open_sink(database) as (sink, _, _):
        assert {EVENTS_0: 3} == await sink.assigned({EVENTS_0: None})


async def test_the_end_of_a_transaction_moves_the_position(database: str) -> None:
    """Reads wait for the position: it reaches the end of the log, though no record fills the last offset."""
    log = Log()
    async with open_sink(database) as (sink, _, _):
        await sink.assigned({EVENTS_0: None})
        await sink.put([log.append(make_event(make_id())) for _ in range(3)])
        sink.positions.reached(EVENTS_0, 3)
        sink.positions.note_vacant(EVENTS_0, 3, 4)
        sink.positions.reached(EVENTS_0, 4)
        await eventually(lambda: find_position(database) == 4)
        log.append(make_event(make_id()))  # stands for the end of the transaction
        await sink.put([log.append(make_event(make_id()))])
        await eventually(lambda: find_position(database) == 5)


def find_position(database: str) -> int:
    with psycopg.connect(database) as connection:
        row = connection.execute(
            "select next_offset from archive_offsets where topic = %s and partition = %s", EVENTS_0
        ).fetchone()
    assert row is not None
    return int(row[0])


async def test_rows_are_counted_by_table(database: str) -> None:
    """Counts are of the rows that were written, not of the records that were read: a repeat counts nothing."""
    log, event = Log(), make_event(make_id())
    records = [log.append(event), log.append(make_dispatch(event, make_id(), make_id())), log.append(event)]
    async with open_sink(database) as (sink, _, metrics):
        await sink.assigned({record.place: None for record in records})
        await sink.put(records)
        figures = generate_latest(metrics.registry).decode()

    assert 'hookline_archive_rows_total{table="deliveries"} 2.0' in figures
    assert 'hookline_archive_rows_total{table="events"} 1.0' in figures


async def test_a_day_that_rows_need_is_made(database: str) -> None:
    """Rows of today never go to the default partition because their partition was made late."""
    async with open_sink(database) as (sink, _, _):
        await sink.assigned({EVENTS_0: None})
        await sink.put([Log().append(make_event(make_id()))])

    assert ["events_default"] != [row["part"] for row in read_rows(database, "events")]


async def test_an_owner_that_was_replaced_ends(database: str) -> None:
    """A replaced owner does not wait as in an outage: the process must stop, and nothing of the batch is written."""
    log = Log()
    async with open_sink(database) as (sink, outage, _), open_sink(database) as (other, _, _):
        await sink.assigned({EVENTS_0: None})
        await other.assigned({EVENTS_0: None})
        async with asyncio.timeout(60):
            with pytest.raises(FencedError):
                await sink.put([log.append(make_event(make_id()))])

        assert outage.check() is None
    assert 0 == count_rows(database, "events")


async def test_a_lock_is_an_outage(database: str) -> None:
    """Another session locks a table: the sink waits, health says why, and then all is written."""
    log = Log()
    async with open_sink(database) as (sink, outage, _), await psycopg.AsyncConnection.connect(database) as holder:
        await sink.assigned({EVENTS_0: None})
        await sink.put([log.append(make_event(make_id()))])
        await holder.execute("lock table events in access exclusive mode")
        putting = asyncio.create_task(sink.put([log.append(make_event(make_id()))]))
        await eventually(lambda: is_waiting(database))
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute(
                "select pg_cancel_backend(pid) from pg_stat_activity "
                "where datname = current_database() and application_name = 'hookline-archive'"
            )
        await eventually(lambda: outage.check() is not None)
        assert not putting.done()
        await holder.commit()
        await putting

        assert outage.check() is None
    assert 2 == count_rows(database, "events")
    assert {EVENTS_0: 2} == read_offsets(database)


async def test_a_read_only_server_is_an_outage(database: str) -> None:
    """A failover leaves a read-only server: nothing is lost until it is writable; then the sink goes on in seconds."""
    log = Log()
    async with open_sink(database) as (sink, outage, _):
        await sink.assigned({EVENTS_0: None})
        with psycopg.connect(database, autocommit=True) as connection:
            name = connection.info.dbname
            connection.execute(f"alter database {name} set default_transaction_read_only = on".encode())
            connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity "
                "where datname = current_database() and application_name = 'hookline-archive'"
            )
        putting = asyncio.create_task(sink.put([log.append(make_event(make_id()))]))
        await eventually(lambda: "read-only" in (outage.check() or ""))
        assert not putting.done()
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute("set default_transaction_read_only = off")
            connection.execute(f"alter database {name} reset default_transaction_read_only".encode())
        # sessions that were opened meanwhile stay read-only for as long as they live: they are closed, not kept
        async with asyncio.timeout(60):
            await putting

    assert 1 == count_rows(database, "events")


@pytest.mark.parametrize("is_new_day", [False, True], ids=["a row waits", "a new day waits"])
async def test_the_holder_of_a_lock_is_named(database: str, is_new_day: bool) -> None:
    """Health said that a statement was cancelled; an operator looks for the session that has to end."""
    log = Log()
    async with open_sink(database) as (sink, outage, _):
        holder = LockHolder(configure(database), outage)
        watching = asyncio.create_task(holder.run())
        await sink.assigned({EVENTS_0: None})
        before = [] if is_new_day else [log.append(make_event(make_id()))]
        await sink.put(before)
        with psycopg.connect(database, application_name="vacuumdb") as operator:
            operator.execute("lock table events in access exclusive mode")
            pid = operator.info.backend_pid
            putting = asyncio.create_task(sink.put([log.append(make_event(make_id()))]))
            await eventually(
                lambda: f"a lock that session {pid} (vacuumdb) holds" in (holder.check() or ""), timeout_s=60
            )
        await putting
        said = holder.check()
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)

    assert said is None
    assert len(before) + 1 == count_rows(database, "events")


async def test_a_lock_on_a_table_without_new_rows_stops_nothing(database: str) -> None:
    """An operator's VACUUM FULL of dead letters: a process that starts, and one that looks for statistics, go on."""
    log = Log()
    async with open_sink(database) as (sink, _, _):
        await sink.assigned({EVENTS_0: None})
        await sink.put([log.append(make_event(make_id()))])  # the day has its partitions
    with psycopg.connect(database) as operator:
        operator.execute("lock table dead_letters in access exclusive mode")
        async with open_sink(database) as (sink, outage, _):
            async with asyncio.timeout(15):  # of the 30 s after which a statement is given up
                await sink.assigned({EVENTS_0: None})
                await sink.put([log.append(make_event(make_id())) for _ in range(600)])
                await sink.put([log.append(make_event(make_id()))])
            assert outage.check() is None

    assert 602 == count_rows(database, "events")
