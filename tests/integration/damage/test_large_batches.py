"""Batches that unpack to much: each record is within its limits, all of them together are far beyond one record's."""

import asyncio
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from pipeline.core.events.records import Event, to_bytes
from pipeline.topics import Topic
from tests.integration.archive.archive_site import ArchiveSite
from tests.integration.damage.conftest import OwnBroker
from tests.integration.matcher.matcher_site import MatcherSite, make_event
from tests.support.eventually import eventually
from tests.support.outside_producer import OutsideProducer

PAYLOAD = b'{"n":"' + b"abcdefgh" * 50_000 + b'"}'  # 400 kB


def write_batch(servers: str, topic: Topic, events: list[Event], compression: str) -> None:
    """One batch, as a producer with a long linger makes it."""
    producer = OutsideProducer(
        servers,
        compression_type=compression,
        linger_ms=200_000,  # `flush` ends it, however long the records take to be made
        batch_size=500_000_000,
        message_max_bytes=500_000_000,
        queue_buffering_max_kbytes=1_000_000,
    )
    for event in events:
        producer.write_bytes(topic, event.application_id.encode(), to_bytes(event), partition=0)
    producer.flush()


async def test_300_events_in_one_batch_are_archived(broker: OwnBroker, prefix: str, database: str) -> None:
    """120 MB in one batch of 12 kB: more than librdkafka unpacks unless it is told how much it may."""
    site = await ArchiveSite(broker.servers, prefix, database, partitions=1).prepare()
    events = [make_event(str(uuid4()), payload=PAYLOAD) for _ in range(300)]
    await asyncio.to_thread(write_batch, broker.servers, site.topics.events, events, "zstd")
    async with site.archive():
        await wait_for_events(database, {event.event_id for event in events})


@pytest.mark.parametrize("form", ["gzip", "snappy", "lz4", "zstd"])
async def test_what_is_beyond_the_limit_is_stepped_over_by_both(
    broker: OwnBroker, prefix: str, database: str, form: str
) -> None:
    """The matcher delivers nothing of it and the archive keeps nothing of it; both go on and say so."""
    limit = {"KAFKA_BATCH_UNPACKED_MAX_BYTES": str(64 * 1024 * 1024)}
    site = await MatcherSite(broker.servers, prefix, partitions=1).prepare()
    application_id = str(uuid4())
    site.publish(application_id, {str(uuid4()): {}})
    large = [make_event(application_id, payload=PAYLOAD) for _ in range(170)]
    before = site.send(application_id, 5)
    await asyncio.to_thread(write_batch, broker.servers, site.topics.events, large, form)
    behind = site.send(application_id, 5)
    expected = {event.event_id for event in (*before, *behind)}
    archives = ArchiveSite(broker.servers, prefix, database, partitions=1)
    async with site.matcher(**limit) as matcher, archives.archive(**limit) as archive:
        dispatches = await site.dispatches(10, timeout_s=60)
        await wait_for_events(database, expected)

        assert expected == {dispatch.event_id for dispatch in dispatches}
        for process in (matcher, archive):
            (line,) = [line for line in process.log().splitlines() if "records_unreadable" in line]
            assert "first_offset=5 last_offset=174" in line


async def wait_for_events(database: str, expected: set[str]) -> None:
    async def check() -> bool:
        async with await psycopg.AsyncConnection.connect(database) as connection:
            rows: list[Any] = await (await connection.execute("select event_id::text from events")).fetchall()
        assert expected == {row[0] for row in rows}
        return True

    await eventually(check, timeout_s=60)
