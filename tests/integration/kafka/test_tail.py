"""Reading the end of partitions, from a real broker."""

import asyncio

import pytest
from confluent_kafka import Producer

from pipeline.kafka.record import LogRecord
from pipeline.kafka.tail import read_tail
from pipeline.start_error import StartError
from pipeline.topics import declare_topics
from tests.integration.kafka.logs import PlainClient, configure, make_topics
from tests.support.eventually import eventually


async def test_the_end_of_each_partition(kafka: str, topic_prefix: str) -> None:
    """The tail goes from the place asked for to the present end, in order; never more than the last so many."""
    config, topics = await make_topics(kafka, topic_prefix, partitions=4)
    client = PlainClient(kafka)
    for partition, count in ((0, 10), (1, 10), (2, 10)):
        client.write(topics.attempts, [(b"k", b"%d" % number) for number in range(count)], partition=partition)
    records, ends = await asyncio.to_thread(
        read_tail, config, topics.attempts, {0: 7, 1: 10, 2: 0, 3: 0}, records_max=5
    )

    assert {0: 10, 1: 10, 2: 10, 3: 0} == ends
    assert [(0, 7), (0, 8), (0, 9), *((2, offset) for offset in range(5, 10))] == sorted(
        (record.partition, record.offset) for record in records
    )
    assert {record.value for record in records} == {b"%d" % number for number in range(5, 10)}
    assert {topics.attempts.name} == {record.topic for record in records}
    assert ([], {}) == await asyncio.to_thread(read_tail, config, topics.attempts, {}, records_max=5)


async def test_what_is_not_handed_out_does_not_hold_it_up(kafka: str, topic_prefix: str) -> None:
    """A partition may end with what no reader sees: the marks of transactions, and what they took back."""
    config, topics = await make_topics(kafka, topic_prefix, partitions=1)
    producer = Producer({"bootstrap.servers": kafka, "transactional.id": f"{topic_prefix}t"})
    await asyncio.to_thread(producer.init_transactions, 30)
    for value, end in ((b"kept", producer.commit_transaction), (b"taken back", producer.abort_transaction)):
        producer.begin_transaction()
        producer.produce(topics.attempts.name, key=b"k", value=value)
        producer.flush(30)
        await asyncio.to_thread(end, 30)

    async def find() -> list[LogRecord]:
        records, ends = await asyncio.to_thread(read_tail, config, topics.attempts, {0: 0}, records_max=100)
        # the broker writes its marks a moment later
        assert {0: 4} == ends
        return records

    assert [b"kept"] == [record.value for record in await eventually(find)]


def test_a_kafka_that_is_away_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that does not know what was settled does not start."""
    monkeypatch.setattr("pipeline.kafka.damage.raw_log.ANSWER_TIMEOUT_S", 1.0)
    topics = declare_topics(prefix="x.", partitions=1, event_retention_s=3600)

    with pytest.raises(StartError, match=r"cannot read the end of topic x\.attempts"):
        read_tail(configure("127.0.0.1:1", "x."), topics.attempts, {0: 0}, records_max=5)
