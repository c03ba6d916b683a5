"""Behaviour of Faust and aiokafka that the matcher relies on beyond their documentation, on a real broker."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import faust
import pytest
from aiokafka.consumer.fetcher import OffsetResetStrategy
from faust.types import TP

from pipeline.kafka.group.standing import Standing
from pipeline.kafka.log_clock import wall_us
from pipeline.kafka.read_faults import ReadFaults
from pipeline.matcher.chunks import CODEC, schedule_chunks
from pipeline.matcher.consumer import Consumer
from pipeline.matcher.fetch_pace import FetchPace
from pipeline.matcher.progress import Progress
from pipeline.matcher.worker import build_app, watch
from pipeline.metrics import Metrics
from tests.integration.matcher.matcher_site import MatcherSite
from tests.support.eventually import eventually


@asynccontextmanager
async def open_app(site: MatcherSite) -> AsyncIterator[tuple[faust.App, list[Any]]]:
    """An app that reads the events in chunks and does nothing with them but keep them."""
    app = build_app(
        site.config,
        scheduler=schedule_chunks(100, lambda: 0),
        faults=ReadFaults(Metrics("matcher")),
        standing=Standing(site.group, session_timeout_s=site.config.session_timeout_s),
    )
    events = app.topic(site.topics.events.name, value_serializer=CODEC, key_serializer="raw", acks=False)
    chunks: list[Any] = []

    keep_chunk = chunks.append

    @app.agent(events, concurrency=1)
    async def keep(stream: Any) -> None:
        async for event in stream.noack().events():
            keep_chunk(event.value)

    await app.start()
    try:
        yield app, chunks
    finally:
        await app.stop()


def consumer_of(app: faust.App) -> Consumer:
    assert isinstance(app.consumer, Consumer)
    return app.consumer


async def test_exactly_what_was_asked_for_is_committed(kafka: str, topic_prefix: str) -> None:
    """The commit has all that was read, and nothing for partitions of another owner."""
    site = await MatcherSite(kafka, topic_prefix, partitions=2).prepare()
    name = site.topics.events.name
    for partition in (0, 1):
        for _ in range(10):
            site.write_bytes(site.topics.events, None, b"x", partition=partition)
    site.flush()
    async with open_app(site) as (app, chunks):
        await eventually(lambda: sum(len(chunk.records) for chunk in chunks) == 20)
        consumer = consumer_of(app)
        assert await consumer.commit_offsets({TP(name, 0): 3, TP(name, 7): 5, TP("other", 0): 1})
        assert {0: 3, 1: 0} == await asyncio.to_thread(site.committed)
        assert await consumer.commit_offsets({TP("other", 0): 1})
        assert await consumer.commit_offsets({TP(name, 0): 7, TP(name, 1): 10})

    assert {0: 7, 1: 10} == site.committed()
    ends = {record.partition: record.offset for chunk in chunks for record in chunk.records}
    assert {0: 9, 1: 9} == ends


async def test_a_crash_inside_faust_is_noticed(kafka: str, topic_prefix: str) -> None:
    """Faust marks itself as crashed and goes on existing: its watcher ends the process with the reason."""
    site = await MatcherSite(kafka, topic_prefix, partitions=1).prepare()
    metrics = Metrics("matcher")

    async def commit(_: object) -> bool:
        return True

    async with open_app(site) as (app, _):
        progress = Progress(commit, metrics, in_flight_max=1, commit_interval_s=60)
        watching = asyncio.create_task(watch(app, progress, metrics, retention_s=3600, clock_us=wall_us))
        # what no broker and no caller of ours says
        await consumer_of(app).commit_offsets({TP(site.topics.events.name, 0): "junk"})  # type: ignore[dict-item]  # as said
        async with asyncio.timeout(30):
            with pytest.raises((TypeError, ValueError)):
                await watching


async def test_a_partition_without_a_position_is_no_crash(kafka: str, topic_prefix: str) -> None:
    """A partition has none for a moment when its log's end was lost: Faust's watch over acks does not ask for it."""
    site = await MatcherSite(kafka, topic_prefix, partitions=1).prepare()
    site.write_bytes(site.topics.events, None, b"x", partition=0)
    site.flush()
    async with open_app(site) as (app, chunks):
        await eventually(lambda: bool(chunks))
        consumer = consumer_of(app)
        client = consumer._aiokafka_thread._ensure_consumer()  # noqa: SLF001 - where the broker's answer is noted
        assignment = client._subscription.subscription.assignment  # noqa: SLF001
        assignment.state_value(TP(site.topics.events.name, 0)).await_reset(OffsetResetStrategy.EARLIEST)
        await consumer.verify_all_partitions_active()

        assert not app.should_stop


async def test_records_of_a_fetch_come_as_one_chunk(kafka: str, topic_prefix: str) -> None:
    """Chunks have a bounded size, and take from all partitions, each in its order."""
    site = await MatcherSite(kafka, topic_prefix, partitions=4).prepare()
    for number in range(1000):
        site.write_bytes(site.topics.events, None, b"%d" % number, partition=number % 4)
    site.flush()
    async with open_app(site) as (_, chunks):
        await eventually(lambda: sum(len(chunk.records) for chunk in chunks) == 1000)

    assert max(len(chunk.records) for chunk in chunks) <= 100
    assert any(len({record.partition for record in chunk.records}) > 1 for chunk in chunks)
    for partition in range(4):
        values = [record.value for chunk in chunks for record in chunk.records if record.partition == partition]
        assert [b"%d" % number for number in range(partition, 1000, 4)] == values


async def test_a_fetch_waits_for_its_pace(kafka: str, topic_prefix: str) -> None:
    """Records that come meanwhile are taken in one chunk, behind the pace; records that were fetched do not wait."""

    class Fixed(FetchPace):
        def rest_s(self, now_s: float) -> float:
            return 3.0 if chunks else 0.0

    site = await MatcherSite(kafka, topic_prefix, partitions=4).prepare()
    async with open_app(site) as (app, chunks):
        consumer_of(app).pace = Fixed()
        site.write_bytes(site.topics.events, None, b"first", partition=0)
        site.flush()
        await eventually(lambda: len(chunks) == 1)
        for partition in range(4):
            site.write_bytes(site.topics.events, None, b"behind it", partition=partition)
        site.flush()
        await eventually(lambda: sum(len(chunk.records) for chunk in chunks) == 5)

    assert [1, 4] == [len(chunk.records) for chunk in chunks]


async def test_what_is_read_again_is_never_dropped(kafka: str, topic_prefix: str) -> None:
    """Faust drops what lies before the last offset that it noted, and it may note one after reading was sent back."""
    site = await MatcherSite(kafka, topic_prefix, partitions=1).prepare()
    tp = TP(site.topics.events.name, 0)
    for number in range(10):
        site.write_bytes(site.topics.events, None, b"%d" % number, partition=0)
    site.flush()
    async with open_app(site) as (app, chunks):
        await eventually(lambda: sum(len(chunk.records) for chunk in chunks) == 10)
        consumer = consumer_of(app)
        await consumer.rewind(tp, 0)
        consumer._read_offset.update({tp: 10})  # noqa: SLF001 - as its own seek to a commit does
        consumer._read_offset[tp] = 10  # noqa: SLF001 - as it does when a chunk was handed on
        await eventually(lambda: sum(len(chunk.records) for chunk in chunks) == 20)

    assert 2 * [b"%d" % number for number in range(10)] == [
        record.value for chunk in chunks for record in chunk.records
    ]
