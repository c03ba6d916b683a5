"""Whether what was read is still in the log."""

import asyncio

import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from pipeline.kafka.admin import apply_topics
from pipeline.kafka.commit_metadata import join_note, split_note
from pipeline.kafka.damage.cuts import is_there
from pipeline.kafka.log_guard import LogGuard, RecordTime
from pipeline.kafka.read_faults import ReadFault
from pipeline.kafka.topic_ids import TopicIds
from tests.integration.kafka.logs import PlainClient, make_topics
from tests.support.eventually import eventually


async def test_a_record_is_told_from_another_at_its_offset(kafka: str, topic_prefix: str) -> None:
    """The broker's time distinguishes them: after a crash of the broker new records lie at the offsets of lost ones."""
    config, topics = await make_topics(kafka, topic_prefix)
    client = PlainClient(kafka)
    client.write(topics.events, [(b"a", b"1"), (b"a", b"2")], partition=1)
    place = (topics.events.name, 1)
    last = client.read(topics.events)[-1]
    offset, time_ms = last.offset() or 0, last.timestamp()[1]

    async def ask(offset: int, time_ms: int) -> bool:
        answers = []

        async def is_answered() -> bool:
            try:
                answers.append(await asyncio.to_thread(is_there, config, place, offset, time_ms))
            except KafkaException as error:  # a topic that was just made: its leader is not known everywhere
                raise AssertionError(str(error)) from error
            return True

        await eventually(is_answered)
        return answers[-1]

    assert 1 == offset
    assert await ask(offset, time_ms)
    assert not await ask(offset, time_ms + 1)
    assert not await ask(offset + 1, time_ms)


async def test_a_fault_counts_as_told_when_it_was_acted_on(kafka: str, topic_prefix: str) -> None:
    """A rebalance during a look drops what it found: the next look finds it again, also after partitions came back."""
    config, topics = await make_topics(kafka, topic_prefix)
    ids = TopicIds(config, [topics.events])
    await ids.start()
    guard = LogGuard(config, group=f"{topic_prefix}group", ids=ids)
    positions = {(topics.events.name, partition): 0 for partition in range(2)}

    async def begin() -> bool:
        finding = await guard.look(positions, {})
        guard.accept(finding)
        return finding.reached.keys() == positions.keys()

    await eventually(begin)  # a topic that was just made may have no leader yet
    admin = AdminClient({"bootstrap.servers": kafka}, logger=None)
    for deleted in admin.delete_topics([topics.events.name]).values():
        await asyncio.to_thread(deleted.result, 30)
    await eventually(lambda: topics.events.name not in admin.list_topics(timeout=60).topics)
    await asyncio.to_thread(apply_topics, config, topics)

    async def look() -> set[str]:
        await asyncio.to_thread(ids.ask)
        return {fault.kind for fault in (await guard.look(positions, {})).faults}

    await eventually(look)  # its leaders are new
    assert {"made_again"} == await look()
    guard.forget()
    assert {"made_again"} == await look()
    guard.accept(await guard.look(positions, {}))
    assert set() == await look()


async def test_a_position_beyond_the_end_is_found(kafka: str, topic_prefix: str) -> None:
    """A position set by hand lacks the epoch that ours have: reading begins anew, and that is said."""
    config, topics = await make_topics(kafka, topic_prefix)
    PlainClient(kafka).write(topics.events, [(b"a", b"1"), (b"a", b"2")], partition=1)
    group, place = f"{topic_prefix}group", (topics.events.name, 1)
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": group}, logger=None)
    await asyncio.to_thread(consumer.commit, offsets=[TopicPartition(*place, 7)], asynchronous=False)
    consumer.close()
    ids = TopicIds(config, [topics.events])
    await ids.start()
    guard = LogGuard(config, group=group, ids=ids)

    async def look() -> list[ReadFault]:
        finding = await guard.look({place: 0}, {})
        assert finding.reached.keys() == {place}  # a topic that was just made may have no leader yet
        return finding.faults

    (fault,) = await eventually(look)
    assert ("tail_lost", 7, 0, 5) == (fault.kind, fault.begin, fault.end, fault.lost)
    assert "ends at 2" in fault.reason


async def test_the_commit_of_before_counts_until_the_log_was_looked_at(kafka: str, topic_prefix: str) -> None:
    """The first own commit replaces it, maybe before the first look: it hands on what is noted there."""
    config, topics = await make_topics(kafka, topic_prefix)
    PlainClient(kafka).write(topics.events, [(b"a", b"1"), (b"a", b"2")], partition=1)
    group, place = f"{topic_prefix}group", (topics.events.name, 1)
    ids = TopicIds(config, [topics.events])
    await ids.start()
    topic_id = ids.find(topics.events.name)
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": group}, logger=None)

    async def commit(offset: int, metadata: str) -> None:
        part = TopicPartition(*place, offset, metadata)
        await asyncio.to_thread(consumer.commit, offsets=[part], asynchronous=False)

    await commit(7, join_note(topic_id, "epoch=0@7,6:1764550000123"))
    guard = LogGuard(config, group=group, ids=ids)
    with pytest.raises(KeyError):
        guard.note_for(place, None)
    await guard.read_former([place])

    assert (topic_id, "epoch=0@7,6:1764550000123") == split_note(guard.note_for(place, None))
    assert (topic_id, "epoch=0@7,8:1764550000456") == split_note(guard.note_for(place, RecordTime(8, 1764550000456)))

    await commit(2, "")

    async def look() -> list[ReadFault]:
        finding = await guard.look({place: 2}, {})
        assert finding.reached.keys() == {place}  # a topic that was just made may have no leader yet
        guard.accept(finding)
        return finding.faults

    (fault,) = await eventually(look)
    assert ("tail_lost", 7, 2, 5) == (fault.kind, fault.begin, fault.end, fault.lost)
    assert (topic_id, "epoch=0@2") == split_note(guard.note_for(place, None))
    await asyncio.to_thread(consumer.close)
