"""Records of a topic, as a plain client reads them."""

import time

from confluent_kafka import Consumer, Message, TopicPartition

from pipeline.kafka.partition_bounds import find_partition_bounds
from pipeline.topics import Topic

BATCH_MAX_RECORDS = 5000
# `consume` returns when it has as many records as asked for or its time is up: a long time is waited for in vain.
CONSUME_S = 0.05
READ_TIMEOUT_S = 60.0


def read_log(bootstrap_servers: str, topic: Topic, *, isolation: str = "read_uncommitted") -> list[Message]:
    """All records of a topic, to its present end, by partition."""
    options = {"bootstrap.servers": bootstrap_servers, "group.id": "test-reader", "isolation.level": isolation}
    consumer = Consumer(options, logger=None)
    try:
        # asked before anything is fetched: a broker answers a connection in order, and a fetch of nothing waits
        ends = find_ends(consumer, topic)
        parts = [TopicPartition(topic.name, number, 0) for number, end in ends.items() if end]
        consumer.assign(parts)
        deadline_s = time.monotonic() + READ_TIMEOUT_S
        found: list[Message] = []
        while parts and any(place.offset < ends[place.partition] for place in consumer.position(parts)):
            messages = consumer.consume(BATCH_MAX_RECORDS, CONSUME_S)
            problems = [message.error() for message in messages if message.error() is not None]
            assert not problems, problems
            found += messages
            assert time.monotonic() < deadline_s, f"{topic.name} ends at {ends}, {len(found)} records could be read"
        return sorted(found, key=lambda message: (message.partition() or 0, message.offset() or 0))
    finally:
        consumer.close()


def find_ends(consumer: Consumer, topic: Topic) -> dict[int, int]:
    """Where each partition ends. Asked again while it has no leader yet, or another one takes over."""
    return {number: find_partition_bounds(consumer, topic.name, number)[1] for number in range(topic.partitions)}
