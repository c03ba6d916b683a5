"""Topics of producers, as a member of the gateways' group reads them."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

from confluent_kafka.admin import AdminClient

from pipeline.config import KafkaConfig
from pipeline.core.events.producer_record import ProducerRecord
from pipeline.kafka.admin import create_producer_topic
from pipeline.kafka.producer_topics import ProducerTopics
from pipeline.kafka.read_faults import ReadFaults
from pipeline.kafka.record import Place
from pipeline.metrics import Metrics
from pipeline.topics import Topic
from tests.integration.kafka.logs import PlainClient, configure
from tests.support.eventually import eventually
from tests.support.kafka import delete_all_records


@asynccontextmanager
async def read_topics(config: KafkaConfig, faults: ReadFaults) -> AsyncIterator[list[bytes | None]]:
    """Read until the end of the block; the values so far."""
    values: list[bytes | None] = []

    async def take(records: Sequence[ProducerRecord]) -> Mapping[Place, int]:
        values.extend(record.value for record in records)
        return {(record.topic, record.partition): record.offset + 1 for record in records}

    reading = asyncio.create_task(ProducerTopics(config, take, faults=faults).run())
    try:
        yield values
    finally:
        reading.cancel()
        with suppress(asyncio.CancelledError):
            await reading


async def test_records_deleted_unread_are_said(kafka: str, topic_prefix: str) -> None:
    """Retention takes records that no gateway has read, while none runs: the next one says which, and reads on."""
    config = configure(kafka, topic_prefix)
    name, _ = await asyncio.to_thread(create_producer_topic, config, "01a22ea4-0e13-737f-aa9b-7c7d9020b427", 1)
    topic = Topic(name=name, records=("event",), key="any", partitions=1, retention_s=86_400)
    client, faults = PlainClient(kafka), ReadFaults(Metrics("gateway"))
    client.write(topic, [(None, b"read")])
    async with read_topics(config, faults) as values:
        await eventually(lambda: values == [b"read"])
    assert faults.check() is None
    client.write(topic, [(None, b"deleted"), (None, b"deleted, too")])
    await asyncio.to_thread(delete_all_records, config, topic)
    client.write(topic, [(None, b"kept")])
    async with read_topics(config, faults) as values:
        await eventually(lambda: values == [b"kept"])

    assert f"offsets 1 to 2 of {name} [0] were deleted before they were read" == faults.check()


async def test_a_topic_made_again_is_read_from_its_beginning(kafka: str, topic_prefix: str) -> None:
    """The new one has more records than the one before by the time that the reader looks again."""
    config, application_id = configure(kafka, topic_prefix), "01a22ea4-0e13-737f-aa9b-7c7d9020b428"
    name, _ = await asyncio.to_thread(create_producer_topic, config, application_id, 1)
    topic = Topic(name=name, records=("event",), key="any", partitions=1, retention_s=86_400)
    faults = ReadFaults(Metrics("gateway"))
    async with read_topics(config, faults) as values:
        PlainClient(kafka).write(topic, [(None, b"first %d" % number) for number in range(5)])
        await eventually(lambda: len(values) == 5)
        values.clear()
        admin = AdminClient({"bootstrap.servers": kafka}, logger=None)
        for future in admin.delete_topics([name]).values():
            await asyncio.to_thread(future.result, 30)
        await eventually(lambda: name not in admin.list_topics(timeout=60).topics)
        await asyncio.to_thread(create_producer_topic, config, application_id, 1)
        wanted = [b"second %d" % number for number in range(20)]
        PlainClient(kafka).write(topic, [(None, each) for each in wanted])
        await eventually(lambda: set(wanted) <= set(values), timeout_s=60)

    # what was read before the reader noticed is read again, under the same ids
    assert wanted == values[-len(wanted) :]
    assert "made again" in (faults.check() or "")
