"""The archive process on a real Kafka and a real PostgreSQL."""

import asyncio
from datetime import UTC, datetime, timedelta

from confluent_kafka import Producer
from pydantic import SecretStr

from pipeline.core.events.records import RoutesChanged, to_bytes
from pipeline.postgres.archive.reads import find_event
from pipeline.postgres.archive.tables import EVENTS, TABLES
from pipeline.postgres.pool import open_pool
from tests.integration.archive.archive_site import ArchiveSite, ids_of
from tests.integration.archive.records import (
    DAY_US,
    NOW_US,
    change,
    make_attempt,
    make_dead_letter,
    make_dispatch,
    make_event,
    make_id,
)
from tests.integration.archive.tables import (
    configure,
    count_rows,
    list_partitions,
    read_positions,
    read_rows,
)
from tests.support.eventually import eventually


async def test_what_happened_is_in_the_tables(kafka: str, topic_prefix: str, database: str) -> None:
    """An event, what it matched, what was tried and what was given up: each record becomes its rows."""
    site = await ArchiveSite(kafka, topic_prefix, database).prepare()
    event = make_event(make_id(), payload=b'{"x": "' + b"y" * 5000 + b'"}')
    dispatch = make_dispatch(event, make_id(), make_id())
    attempt, letter = make_attempt(dispatch, 1, outcome="failed"), make_dead_letter(event)
    async with site.archive():
        site.write(event, dispatch, attempt, letter)
        site.flush()
        await eventually(lambda: [count_rows(database, table.name) for table in TABLES] == [1, 1, 2, 1, 1])
        pool = await open_pool(configure(database), SecretStr(database), name="test")
        found = await find_event(pool, event.application_id, event.event_id)
        await pool.close()

    assert found is not None
    assert event.payload == found.payload
    (row,) = read_rows(database, "events")
    assert row["payload_compressed"]
    assert len(row["payload"]) < 100
    # the day is that of the broker's time, which is today
    assert f"{datetime.now(UTC):%Y-%m-%d}" == row["day"]
    assert abs(row["appended_at_us"] - NOW_US) < DAY_US
    assert ids_of(read_rows(database, "deliveries"), "delivery_id") == sorted(
        match["delivery_id"] for match in dispatch.matches
    )
    (row,) = read_rows(database, "attempts")
    assert (attempt.attempt_id, "failed", 500) == (row["attempt_id"], row["outcome"], row["response_status"])
    (row,) = read_rows(database, "dead_letters")
    assert (letter.dead_id, letter.reason) == (row["dead_id"], row["reason"])


async def test_poison_stops_nothing(kafka: str, topic_prefix: str, database: str) -> None:
    """Unreadable records of our own topics become dead letters; those of the events topic are left to the matcher."""
    site = await ArchiveSite(kafka, topic_prefix, database, partitions=1).prepare()
    event = make_event(make_id())
    marker = RoutesChanged(application_id=event.application_id, routes_version=1, changed_at_us=0)
    poison: list[tuple[bytes | None, bytes | None]] = [
        (None, None),
        (b"k", b""),
        (b"\xff\xfe", b"\xc3\x01" + bytes(20)),
        (b"k", b'{"x":' * 100_000),
        (b"k", to_bytes(marker)),
    ]
    dispatch = make_dispatch(event, make_id())
    bad_ids = change(dispatch, application_id="7")
    async with site.archive():
        for topic in site.archived:
            for key, value in poison:
                site.write_bytes(topic, key, value)
        site.write(bad_ids)
        site.write(event, dispatch, make_attempt(dispatch), make_dead_letter(event))
        site.flush()
        await eventually(lambda: read_positions(database) == site.ends())

    letters = read_rows(database, "dead_letters")
    dead = {
        topic.name: sorted(row["source_offset"] for row in letters if row["source_topic"] == topic.name)
        for topic in site.archived
    }
    count = len(poison)
    assert {
        site.topics.dispatches.name: list(range(count + 1)),
        site.topics.attempts.name: list(range(count)),
        site.topics.dead.name: list(range(count)),
    } == {name: offsets for name, offsets in dead.items() if name != site.topics.events.name}
    assert [1, 1, 1, 1] == [count_rows(database, name) for name in ("events", "dispatches", "deliveries", "attempts")]
    (row,) = [row for row in letters if row["source_offset"] == 2 and row["source_topic"] == site.topics.attempts.name]
    assert (b"\xff\xfe", poison[2][1], "undecodable") == (row["source_key"], row["source_value"], row["reason"])


async def test_partitions_are_made_ahead_and_dropped(kafka: str, topic_prefix: str, database: str) -> None:
    """Today's, the next ones', and those that rows ask for; rows of an odd day have a place all the same."""
    site = await ArchiveSite(kafka, topic_prefix, database, partitions=1).prepare()
    today = datetime.now(UTC).date()
    event = make_event(make_id())
    days_ago = {days: make_dispatch(event, make_id(), appended_at_us=NOW_US - days * DAY_US) for days in (1, 400)}
    async with site.archive(ARCHIVE_DAYS_AHEAD="2", ARCHIVE_RETENTION_DAYS="3"):
        await eventually(lambda: EVENTS.partition_of(today + timedelta(days=2)) in list_partitions(database, "events"))
        site.write(*(change(each, event_id=make_id()) for each in days_ago.values()))
        site.flush()
        await eventually(lambda: count_rows(database, "dispatches") == 2)

    assert [f"dispatches_{today - timedelta(days=1):%Y%m%d}", "dispatches_default"] == sorted(
        row["part"] for row in read_rows(database, "dispatches")
    )
    async with site.archive(ARCHIVE_RETENTION_DAYS="3"):
        # too old to be kept: gone at the next start
        await eventually(lambda: count_rows(database, "dispatches") == 1)
    assert 0 == count_rows(database, "dispatches_default")


async def test_the_position_passes_the_end_of_a_transaction(kafka: str, topic_prefix: str, database: str) -> None:
    """A transaction's end takes an offset that no record fills: reads, which wait for the log's end, waited forever."""
    site = await ArchiveSite(kafka, topic_prefix, database, partitions=1).prepare()
    producer = Producer({"bootstrap.servers": kafka, "transactional.id": topic_prefix})
    async with site.archive():
        await asyncio.to_thread(producer.init_transactions, 30)
        for _ in range(3):
            producer.begin_transaction()
            event = make_event(make_id())
            producer.produce(site.topics.events.name, key=event.application_id.encode(), value=to_bytes(event))
            await asyncio.to_thread(producer.commit_transaction, 30)
            await eventually(lambda: asyncio.to_thread(lambda: read_positions(database) == site.ends()))
        site.write(make_event(make_id()))
        site.flush()
        await eventually(lambda: count_rows(database, "events") == 4)

    assert site.ends() == read_positions(database)


async def test_a_stop_in_mid_load_leaves_all_in_order(kafka: str, topic_prefix: str, database: str) -> None:
    """SIGTERM: the batch in hand is finished, Kafka is told what PostgreSQL says, the rest is for later."""
    site = await ArchiveSite(kafka, topic_prefix, database).prepare()
    archive = site.archive(ARCHIVE_BATCH_MAX_RECORDS="100")
    async with archive:
        loading = asyncio.create_task(asyncio.to_thread(site.load, 2000))
        await site.wait_for_events(200)
        assert 0 == await archive.stop()
        assert read_positions(database) == {place: offset for place, offset in site.committed().items() if offset > 0}
        load = await loading
        await archive.start()
        await site.wait_until_archived(load)
        await eventually(lambda: read_positions(database) == site.ends())


async def test_it_refuses_a_database_that_is_behind(kafka: str, topic_prefix: str, empty_database: str) -> None:
    """The archive says at the start what to do, instead of failing at the first row."""
    site = await ArchiveSite(kafka, topic_prefix, empty_database).prepare()
    archive = site.archive()
    await archive.start(wait_ready=False)

    assert 2 == await archive.wait()
    assert "hookline migrate" in archive.log()
