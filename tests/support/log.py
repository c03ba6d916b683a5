"""Records of a topic, as a plain client reads them."""

import time

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from pipeline.topics import Topic

BATCH_MAX_RECORDS = 5000
# `consume` returns when it has as many records as asked for or its time is up: a long time is waited for in vain.
CONSUME_S = 0.05
ANSWER_TIMEOUT_S = 60.0
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
    """Where each partition ends."""
    return {number: find_end(consumer, TopicPartition(topic.name, number)) for number in range(topic.partitions)}


def find_end(consumer: Consumer, part: TopicPartition) -> int:
    """Asked again while a topic that was just made has no leader yet."""
    deadline_s = time.monotonic() + ANSWER_TIMEOUT_S
    while True:
        try:
            return consumer.get_watermark_offsets(part, timeout=ANSWER_TIMEOUT_S)[1]
        except KafkaException as error:
            if error.args[0].code() != KafkaError.NOT_LEADER_FOR_PARTITION or time.monotonic() > deadline_s:
                raise
            consumer.poll(CONSUME_S)
