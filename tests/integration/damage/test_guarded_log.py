"""A log that loses its end and grows again, as the guard of a reader sees it whose client notices nothing."""

import asyncio
import os
import signal

from confluent_kafka import KafkaException

from pipeline.embedded.kafka import EmbeddedKafka
from pipeline.kafka.log_guard import LogGuard, RecordTime
from pipeline.kafka.topic_ids import TopicIds
from pipeline.topics import Topic
from tests.integration.damage.conftest import OwnBroker
from tests.integration.kafka.logs import PlainClient, make_topics
from tests.support.eventually import eventually

LEFT = 1


async def lose_tail(broker: OwnBroker, topic: Topic) -> None:
    """Kill the broker, lose all but the first batch, and start it again at the same address."""
    port = int(broker.servers.rpartition(":")[2])
    os.kill(broker.kafka.pid, signal.SIGKILL)
    await eventually(lambda: not broker.kafka.is_alive())
    broker.kafka.stop()
    segment = broker.segment(topic)
    segment.cut(segment.batches()[LEFT])
    broker.kafka = await asyncio.to_thread(EmbeddedKafka.start, broker.data_dir, port=port)


async def test_a_reader_that_went_on_behind_the_cut_is_sent_back(broker: OwnBroker, prefix: str) -> None:
    """The record it read last is in the log; those before are others than it read, and were never read."""
    config, topics = await make_topics(broker.servers, prefix)
    place = (topics.events.name, 0)
    ids = TopicIds(config, [topics.events])
    await ids.start()
    guard = LogGuard(config, group=f"{prefix}group", ids=ids)

    def write(count: int) -> None:
        client = PlainClient(broker.servers)  # of its own each time: the broker forgets the producer
        for _ in range(count):
            client.write(topics.events, [(b"k", b"v")], partition=0)

    def read() -> list[RecordTime]:
        messages = [each for each in PlainClient(broker.servers).read(topics.events) if each.partition() == 0]
        return [RecordTime(each.offset() or 0, each.timestamp()[1]) for each in messages]

    await asyncio.to_thread(write, 3)
    before = await asyncio.to_thread(read)

    async def begin() -> bool:
        finding = await guard.look({place: LEFT}, {place: before[:LEFT]})
        guard.accept(finding)
        return bool(finding.reached)

    await eventually(begin)
    await lose_tail(broker, topics.events)
    await asyncio.to_thread(write, 4)

    async def read_again() -> list[RecordTime]:
        try:
            return await asyncio.to_thread(read)
        except KafkaException as error:  # its leader is not known everywhere yet
            raise AssertionError(str(error)) from error

    after = await eventually(read_again)
    reads = [*before[LEFT:], *after[3:]]  # the client goes on at its position

    async def look(position: int, read_since: list[RecordTime]) -> list[tuple[str, int, int]]:
        finding = await guard.look({place: position}, {place: read_since})
        return [(fault.kind, fault.end, fault.lost) for fault in finding.faults]

    assert [("tail_lost", LEFT, len(after) - LEFT)] == await eventually(lambda: look(len(after), reads))
    # sent back to the beginning by the broker whose log was short: what it had read counts
    assert [("tail_lost", LEFT, len(before) - LEFT)] == await eventually(lambda: look(0, before[LEFT:]))
