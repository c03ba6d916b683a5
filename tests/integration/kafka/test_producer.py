"""Writing with acknowledgement, to a real broker."""

import asyncio
import os
import time
from dataclasses import replace
from uuid import uuid4

import pytest
from confluent_kafka import KafkaError, Producer
from prometheus_client import generate_latest

from pipeline.config import KafkaConfig
from pipeline.core.events.records import RoutesChanged, from_bytes
from pipeline.core.log.partition import locate_partition
from pipeline.kafka.producer import (
    KafkaUnavailableError,
    LogProducer,
    Placement,
    RecordRefusedError,
    TopicRefusedError,
)
from pipeline.metrics import Metrics
from pipeline.topics import declare_topics
from tests.integration.kafka.logs import PlainClient, configure, make_topics
from tests.support.eventually import eventually
from tests.support.kafka import alter_topic
from tests.support.kafka_proxy import KafkaProxy

MIB = 1024 * 1024


async def test_a_record_is_where_the_acknowledgement_says(kafka: str, topic_prefix: str) -> None:
    """The record there is the one that was sent, under its key."""
    config, topics = await make_topics(kafka, topic_prefix)
    producer = LogProducer(config, Metrics("test"), linger_ms=0)
    marker = RoutesChanged(application_id=str(uuid4()), routes_version=1, changed_at_us=2)
    try:
        placements = [await producer.send(topics.events, marker.application_id, marker) for _ in range(3)]
    finally:
        await producer.close()

    messages = PlainClient(kafka).read(topics.events)
    assert [Placement(message.partition() or 0, message.offset() or 0) for message in messages] == placements
    assert {(marker.application_id.encode(), marker)} == {
        (message.key(), from_bytes(message.value() or b"")) for message in messages
    }


async def test_keys_are_where_java_puts_them(kafka: str, topic_prefix: str) -> None:
    """Our partitioner and Kafka's own, worked out here, agree; so do all partitions of co-partitioned topics."""
    config, topics = await make_topics(kafka, topic_prefix, partitions=7)
    producer = LogProducer(config, Metrics("test"), linger_ms=5)
    keys = [str(uuid4()).encode() for _ in range(200)] + [b"", b"x", "ü".encode(), bytes(range(256))]
    try:
        for topic in (topics.deliveries, topics.attempts):
            placements = await asyncio.gather(*(producer.send_bytes([(topic, key, b"v")]) for key in keys[:-4]))

            assert [locate_partition(key, 7) for key in keys[:-4]] == [each.partition for each in placements]
        odd = [(await producer.send_bytes([(topics.events, key, b"v")])).partition for key in keys[-3:]]
        assert [locate_partition(key, 7) for key in keys[-3:]] == odd
    finally:
        await producer.close()


async def test_many_records_are_one_promise_in_order(kafka: str, topic_prefix: str) -> None:
    """The future is done when all records are written, in the order in which they were given."""
    config, topics = await make_topics(kafka, topic_prefix, partitions=1)
    metrics = Metrics("test")
    producer = LogProducer(config, metrics, linger_ms=1)
    values = [b"%d" % number for number in range(5000)]
    try:
        written = producer.send_bytes([(topics.events, b"k", value) for value in values])
        assert len(producer) > 0
        await written
        assert len(producer) == 0
        assert Placement(-1, -1) == await producer.send_bytes([])
    finally:
        await producer.close()

    assert values == [message.value() for message in PlainClient(kafka).read(topics.events)]
    assert (
        f'hookline_kafka_produced_total{{topic="{topics.events.name}"}} 5000.0'
        in generate_latest(metrics.registry).decode()
    )


async def test_what_lingers_goes_together_and_holds_up_nobody(kafka: str, topic_prefix: str) -> None:
    """A record that does not linger overtakes it; one that lingers less takes it along."""
    config, topics = await make_topics(kafka, topic_prefix, partitions=1)
    long, short = replace(topics.dispatches, linger_s=3600.0), replace(topics.attempts, linger_s=0.01)
    producer = LogProducer(config, Metrics("test"))
    try:
        held = [producer.send_bytes([(long, b"k", b"%d" % number)]) for number in range(2)]
        held.append(await producer.send_patiently([(long, b"k", b"2")]))
        for _ in range(2):
            await producer.send_bytes([(topics.events, b"k", b"at once")])
        assert not any(promise.done() for promise in held)
        assert 3 == len(producer)
        await asyncio.gather(*held, producer.send_bytes([(short, b"k", b"v")]))
    finally:
        await producer.close()

    assert [b"0", b"1", b"2"] == [message.value() for message in PlainClient(kafka).read(topics.dispatches)]


async def test_closing_writes_what_is_on_its_way(kafka: str, topic_prefix: str) -> None:
    """Nothing that was accepted is dropped at the end; every promise is kept before it is closed."""
    config, topics = await make_topics(kafka, topic_prefix, partitions=1)
    producer = LogProducer(config, Metrics("test"), linger_ms=1000)
    promises = [producer.send_bytes([(topics.events, b"k", b"v")]) for _ in range(100)]
    await producer.close()
    await asyncio.gather(*promises)

    assert 100 == len(PlainClient(kafka).read(topics.events))


async def test_a_full_buffer_fails_at_once(kafka: str, topic_prefix: str) -> None:
    """A caller that must not wait gets an error; records handed over before the buffer was full are still written."""
    config, topics = await make_topics(kafka, topic_prefix, partitions=1)
    producer = LogProducer(small_buffer(config), Metrics("test"), linger_ms=100)
    value = b"x" * 100_000
    try:
        written = producer.send_bytes([(topics.events, b"k", value)] * 100)
        with pytest.raises(KafkaUnavailableError, match=r"(?i)queue.*full"):
            await written
        await producer.flush()
        count = len(PlainClient(kafka).read(topics.events))
        assert 0 < count < 100
        # and there is room again
        await producer.send_bytes([(topics.events, b"k", b"v")])
    finally:
        await producer.close()


async def test_with_patience_a_full_buffer_is_waited_for(kafka: str, topic_prefix: str) -> None:
    """Many times what the buffer holds goes out, in order, none twice."""
    config, topics = await make_topics(kafka, topic_prefix, partitions=1)
    producer = LogProducer(small_buffer(config), Metrics("test"), linger_ms=1)
    values = [b"%08d" % number + b"x" * 100_000 for number in range(200)]
    try:
        await (await producer.send_patiently([(topics.events, b"k", value) for value in values]))
        assert Placement(-1, -1) == await (await producer.send_patiently([]))
    finally:
        await producer.close()

    assert values == [message.value() for message in PlainClient(kafka).read(topics.events)]


def small_buffer(config: KafkaConfig) -> KafkaConfig:
    return config.model_copy(update={"record_max_bytes": MIB, "produce_buffer_max_bytes": MIB})


@pytest.mark.parametrize("is_patient", [False, True])
async def test_a_record_that_is_too_large_is_refused(kafka: str, topic_prefix: str, is_patient: bool) -> None:
    """One record is refused: the records before it and behind it are written."""
    config, topics = await make_topics(kafka, topic_prefix, partitions=1)
    producer = LogProducer(config, Metrics("test"), linger_ms=1)
    records = [(topics.events, b"k", value) for value in (b"1", b"x" * (5 * MIB), b"3")]
    try:
        written = await producer.send_patiently(records) if is_patient else producer.send_bytes(records)
        with pytest.raises(RecordRefusedError, match="too large") as refused:
            await written
    finally:
        await producer.close()

    assert [b"1", b"3"] == [message.value() for message in PlainClient(kafka).read(topics.events)]
    assert [records[1]] == [record for record, _ in refused.value.failed]


async def test_what_a_broker_refuses_in_a_batch_is_refused_by_itself(kafka: str, topic_prefix: str) -> None:
    """The topic takes less than the client thinks: a batch is refused whole, and its small records are written."""
    config, topics = await make_topics(kafka, topic_prefix, partitions=1)
    await alter_topic(kafka, topics.events, "max.message.bytes", "1000")
    metrics = Metrics("test")
    producer = LogProducer(config, metrics, linger_ms=50)
    large = os.urandom(2000)
    try:
        writes = [producer.send_bytes([(topics.events, b"k", value)]) for value in (b"1", large, b"3")]
        first, refused, third = await asyncio.gather(*writes, return_exceptions=True)
        check = producer.check()
    finally:
        await producer.close()

    assert [True, True, True] == [
        isinstance(first, Placement),
        isinstance(refused, RecordRefusedError),
        isinstance(third, Placement),
    ]
    assert check is None  # nothing is wrong with the topic
    assert {b"1", b"3"} == {message.value() for message in PlainClient(kafka).read(topics.events)}
    assert (
        f'hookline_records_refused_total{{topic="{topics.events.name}"}} 1.0'
        in generate_latest(metrics.registry).decode()
    )


async def test_a_topic_that_refuses_is_named_until_it_takes_records(kafka: str, topic_prefix: str) -> None:
    """The topic takes timestamps within a second of the broker's clock: older ones are refused, with the reason."""
    config, topics = await make_topics(kafka, topic_prefix, partitions=1)
    await alter_topic(kafka, topics.events, "message.timestamp.type", "CreateTime")
    await alter_topic(kafka, topics.events, "message.timestamp.before.max.ms", "0")
    producer = LogProducer(config, Metrics("test"), linger_ms=50)  # so old they are when the broker gets them
    try:
        with pytest.raises(TopicRefusedError):
            await producer.send_bytes([(topics.events, b"k", b"v")])
        refused = producer.check()
        await alter_topic(kafka, topics.events, "message.timestamp.before.max.ms", str(3_600_000))
        await producer.send_bytes([(topics.events, b"k", b"v")])
        healed = producer.check()
    finally:
        await producer.close()

    assert refused is not None
    assert topics.events.name in refused
    assert "INVALID_TIMESTAMP" in refused
    assert healed is None


async def test_no_clock_of_ours_makes_a_broker_refuse(kafka: str, topic_prefix: str) -> None:
    """The broker sets its own time, whatever a record claims. (For the producer's, KIP-937 sets a limit: an hour.)"""
    _, topics = await make_topics(kafka, topic_prefix, partitions=1)
    client = Producer({"bootstrap.servers": kafka})
    problems: list[object] = []
    shifts_s = [shift_s * sign for shift_s in (3600, 2 * 3600, 6 * 86_400, 40 * 86_400) for sign in (1, -1)]
    for shift_s in shifts_s:
        for topic in topics.all():
            client.produce(
                topic.name,
                key=b"k",
                value=b"v",
                timestamp=round((time.time() + shift_s) * 1000),
                on_delivery=lambda error, _: problems.append(error),
            )
    client.flush(30)

    assert [None] * len(shifts_s) * len(topics.all()) == problems


async def test_a_client_with_a_fatal_error_is_replaced(kafka: str, topic_prefix: str) -> None:
    """Each fatal error replaces the client: its records fail at once, later ones are written."""
    _, topics = await make_topics(kafka, topic_prefix, partitions=1)
    async with KafkaProxy(kafka) as proxy:
        config = configure(proxy.address, topic_prefix, partitions=1)
        metrics = Metrics("test")
        producer = LogProducer(config, metrics)
        outcomes = []
        try:
            for _ in range(3):
                await producer.send_bytes([(topics.events, b"k", b"v")])
                proxy.fail_produce(KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER)
                async with asyncio.timeout(60):
                    pending = [producer.send_bytes([(topics.events, b"k", b"v")]) for _ in range(5)]
                    outcomes += await asyncio.gather(*pending, return_exceptions=True)
                    await producer.send_bytes([(topics.events, b"k", b"after")])
        finally:
            await producer.close()

    assert 3 == proxy.failed
    failed = [outcome for outcome in outcomes if isinstance(outcome, KafkaUnavailableError)]
    assert [] == [outcome for outcome in outcomes if outcome not in failed and not isinstance(outcome, Placement)]
    assert len(failed) >= 3
    assert "hookline_producers_replaced_total 3.0" in generate_latest(metrics.registry).decode()


async def test_a_kafka_that_is_away_is_told_in_time() -> None:
    """No acknowledgement within the time that was asked for: the caller hears of it, and the metric counts it."""
    config = configure("127.0.0.1:1", "x.")
    topics = declare_topics(prefix="x.", partitions=1, event_retention_s=3600)
    metrics = Metrics("test")
    producer = LogProducer(config, metrics, linger_ms=0, timeout_s=0.5)
    async with asyncio.timeout(60):
        with pytest.raises(KafkaUnavailableError, match="timed out"):
            await producer.send_bytes([(topics.events, b"k", b"v")] * 3)
        await producer.close()

    assert 'hookline_kafka_produce_failed_total{topic="x.events"} 3.0' in generate_latest(metrics.registry).decode()


async def test_a_promise_nobody_waits_for_any_more(kafka: str, topic_prefix: str) -> None:
    """A request that was given up does not stop the acknowledgements of the others."""
    config, topics = await make_topics(kafka, topic_prefix)
    producer = LogProducer(config, Metrics("test"), linger_ms=5)
    try:
        promises = [producer.send_bytes([(topics.events, b"k", b"v")]) for _ in range(10)]
        promises[0].cancel()
        placements = await asyncio.gather(*promises[1:])
    finally:
        await producer.close()

    assert 9 == len(set(placements))


async def test_records_of_a_lingering_topic_wait_for_each_other(kafka: str, topic_prefix: str) -> None:
    """Records sent within the linger time go together; records that do not linger go ahead of them."""
    config, topics = await make_topics(kafka, topic_prefix, partitions=1)
    patient = replace(topics.dispatches, linger_s=60.0)
    producer = LogProducer(config, Metrics("test"))
    quick = await producer.send_patiently([(patient, b"k", b"1"), (topics.deliveries, b"k", b"d")])
    slow = await producer.send_patiently([(patient, b"k", b"2")])
    try:
        await eventually(lambda: 2 == len(producer))  # the delivery is acknowledged

        assert [b"d"] == [message.value() for message in PlainClient(kafka).read(topics.deliveries)]
        assert not quick.done()
        assert not slow.done()
    finally:
        await producer.close()  # which does not wait for them

    assert [b"1", b"2"] == [message.value() for message in PlainClient(kafka).read(patient)]
    assert quick.done()
    assert Placement(0, 1) == slow.result()


async def test_lingering_ends_by_itself(kafka: str, topic_prefix: str) -> None:
    """The end needs no further record."""
    config, topics = await make_topics(kafka, topic_prefix, partitions=1)
    producer = LogProducer(config, Metrics("test"))
    try:
        async with asyncio.timeout(30):
            assert Placement(0, 0) == await (await producer.send_patiently([(topics.dispatches, b"k", b"1")]))
    finally:
        await producer.close()
