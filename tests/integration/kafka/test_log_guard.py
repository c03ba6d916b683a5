"""Whether what was read is still in the log."""

import asyncio

from pipeline.kafka.log_guard import RecordTime, is_there
from tests.integration.kafka.logs import PlainClient, make_topics


async def test_a_record_is_told_from_another_at_its_offset(kafka: str, topic_prefix: str) -> None:
    """By the broker's time: after a crash of the broker new records lie at the offsets of lost ones."""
    config, topics = await make_topics(kafka, topic_prefix)
    client = PlainClient(kafka)
    client.write(topics.events, [(b"a", b"1"), (b"a", b"2")], partition=1)
    place = (topics.events.name, 1)
    last = client.read(topics.events)[-1]
    offset, time_ms = last.offset() or 0, last.timestamp()[1]

    async def ask(offset: int, time_ms: int) -> bool:
        return await asyncio.to_thread(is_there, config, place, RecordTime(offset, time_ms))

    assert 1 == offset
    assert await ask(offset, time_ms)
    assert not await ask(offset, time_ms + 1)
    assert not await ask(offset + 1, time_ms)
