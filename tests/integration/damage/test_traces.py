"""Records around a damaged batch are read by their bytes: they keep the trace context that their headers carry."""

import asyncio

import pytest

from pipeline.config import KafkaConfig
from pipeline.kafka.admin import apply_topics
from pipeline.kafka.damage.way import Ways
from pipeline.kafka.record import LogRecord
from pipeline.topics import Topic, declare_topics
from tests.integration.damage.conftest import OwnBroker
from tests.support.outside_producer import OutsideProducer

PARENT = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
BATCHES, BAD_BATCH = 3, 1


def write_batches(servers: str, topic: Topic) -> None:
    """Batches of two records: one of a traced producer, one without headers."""
    producer = OutsideProducer(servers, compression_type="none")
    for number in range(BATCHES):
        producer.write_bytes(topic, None, b"%d" % number, partition=0, headers=[("traceparent", PARENT)])
        producer.write_bytes(topic, None, b"%d" % number, partition=0)
        producer.flush()


def read_by_bytes(config: KafkaConfig, topic: Topic, *, reads_traces: bool) -> list[LogRecord]:
    ways = Ways(config, reads_traces=reads_traces)
    try:
        way = ways.find((topic.name, 0), 0, 1024 * 1024, is_suspect=False).way
        assert way is not None
        records: list[LogRecord] = []
        is_last = False
        while not is_last:
            read, _, is_last = way.read_on()
            records += read
        return records
    finally:
        ways.close()


@pytest.mark.parametrize("reads_traces", [True, False])
async def test_records_that_are_read_by_their_bytes_keep_their_trace(
    broker: OwnBroker, prefix: str, reads_traces: bool
) -> None:
    """A reader that asks for traces gets those of the good batches on both sides; any other reader gets none."""
    config = KafkaConfig(bootstrap_servers=broker.servers, topic_prefix=prefix, partitions=1)
    topics = declare_topics(prefix=prefix, partitions=1, event_retention_s=86_400)
    await asyncio.to_thread(apply_topics, config, topics)
    await asyncio.to_thread(write_batches, broker.servers, topics.deliveries)
    segment = broker.segment(topics.deliveries)
    batches = segment.batches()
    segment.flip(batches[BAD_BATCH], -1)
    records = await asyncio.to_thread(read_by_bytes, config, topics.deliveries, reads_traces=reads_traces)
    expected = (("traceparent", PARENT),) if reads_traces else None

    assert BATCHES == len(batches)
    assert [0, 1, 4, 5] == [record.offset for record in records]
    assert [expected, None] * 2 == [record.trace for record in records]
