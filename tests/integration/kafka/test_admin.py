"""Topics as declared against topics as they are, on a real broker."""

import asyncio
import os
import sys
from dataclasses import replace

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    ResourceType,
)

from pipeline.config import KafkaConfig
from pipeline.kafka.admin import Change, LogEnds, apply_topics, plan_topics, verify_topics
from pipeline.kafka.open_transactions import find_open_transactions
from pipeline.start_error import StartError
from pipeline.topics import Topic, Topics, declare_topics
from tests.integration.kafka.logs import DAY_S, PlainClient, configure, make_topics
from tests.support.eventually import eventually
from tests.support.processes import ROOT, select_environ


async def test_topics_are_made_once(kafka: str, topic_prefix: str) -> None:
    """Planned, applied, and then there is nothing to do; several may apply at once."""
    config = configure(kafka, topic_prefix)
    topics = declare_topics(prefix=topic_prefix, partitions=2, event_retention_s=DAY_S)
    planned = plan_topics(config, topics)
    assert [Change(topic=topic.name, kind="create", detail="2 partitions") for topic in topics.all()] == planned

    applied = await asyncio.gather(*(asyncio.to_thread(apply_topics, config, topics) for _ in range(3)))

    assert planned in applied
    assert [] == plan_topics(config, topics)
    verify_topics(config, topics)


async def test_topics_are_configured_as_declared(kafka: str, topic_prefix: str) -> None:
    """Every setting of every topic, as the broker has it."""
    config, topics = await make_topics(kafka, topic_prefix)
    admin = AdminClient({"bootstrap.servers": kafka}, logger=None)
    resources = [ConfigResource(ResourceType.TOPIC, topic.name) for topic in topics.all()]
    actual = {resource.name: future.result(60) for resource, future in admin.describe_configs(resources).items()}

    for topic in topics.all():
        wanted = topic.config(record_max_bytes=config.record_max_bytes)
        assert wanted == {name: actual[topic.name][name].value for name in wanted}


async def test_a_setting_that_differs_is_set(kafka: str, topic_prefix: str) -> None:
    """Only what differs is changed: an operator's other settings stay."""
    config, topics = await make_topics(kafka, topic_prefix)
    longer = replace(topics, events=replace(topics.events, retention_s=2 * DAY_S))
    (change,) = plan_topics(config, longer)
    expected = Change(
        topic=topics.events.name,
        kind="configure",
        detail=", ".join(
            f"{name}={2 * DAY_S * 1000} (is {DAY_S * 1000})" for name in ("min.compaction.lag.ms", "retention.ms")
        ),
    )
    assert expected == change

    admin = AdminClient({"bootstrap.servers": kafka}, logger=None)
    operators = ConfigResource(
        ResourceType.TOPIC,
        topics.events.name,
        incremental_configs=[ConfigEntry("segment.ms", "777000", incremental_operation=AlterConfigOpType.SET)],
    )
    for future in admin.incremental_alter_configs([operators]).values():
        future.result(60)

    assert [change] == apply_topics(config, longer)
    # brokers learn of it one after the other
    await eventually(lambda: plan_topics(config, longer) == [])
    (future,) = admin.describe_configs([ConfigResource(ResourceType.TOPIC, topics.events.name)]).values()
    assert "777000" == future.result(60)["segment.ms"].value
    assert topics.events.name in [each.topic for each in plan_topics(config, topics)]


async def test_an_open_transaction_is_found(kafka: str, topic_prefix: str) -> None:
    """An open transaction is found with what it holds back, its own records included; committed or aborted, no more."""
    config, topics = await make_topics(kafka, topic_prefix, partitions=2)
    topic = topics.events
    free = Producer({"bootstrap.servers": kafka})
    free.produce(topic.name, b"read", partition=0)
    await asyncio.to_thread(free.flush, 30)
    producer = Producer({"bootstrap.servers": kafka, "transactional.id": topic_prefix})
    await asyncio.to_thread(producer.init_transactions, 30)
    producer.begin_transaction()
    producer.produce(topic.name, b"open", partition=1)
    await asyncio.to_thread(producer.flush, 30)
    free.produce(topic.name, b"behind it", partition=1)
    await asyncio.to_thread(free.flush, 30)
    during = await asyncio.to_thread(find_open_transactions, config, topics.all())
    shown = await run_plan(config)
    await asyncio.to_thread(producer.commit_transaction, 30)

    assert {(topic.name, 1): 2} == during
    assert f"held        {topic.name:<32}  partition 1: 2 offsets behind an open transaction" in shown
    await eventually(lambda: find_open_transactions(config, topics.all()) == {})


async def test_positions_that_are_kept_for_too_short_a_time(kafka: str, topic_prefix: str) -> None:
    """Brokers keep the positions of a stopped group for 7 days; with events kept for longer the plan says so."""
    config, _ = await make_topics(kafka, topic_prefix, partitions=1)
    enough = await run_plan(config)
    shown = await run_plan(config.model_copy(update={"event_retention_s": 30 * DAY_S}))

    assert not any(line.startswith("short") for line in enough)
    assert 1 == sum(line.startswith("short       offsets.retention.minutes") for line in shown)
    assert any("brokers have 10080, events are kept for 43200" in line for line in shown)


async def run_plan(config: KafkaConfig) -> list[str]:
    """The lines of `hookline topics plan`."""
    environ = {
        "HOOKLINE_KAFKA_BOOTSTRAP_SERVERS": config.bootstrap_servers,
        "HOOKLINE_KAFKA_TOPIC_PREFIX": config.topic_prefix,
        "HOOKLINE_KAFKA_PARTITIONS": str(config.partitions),
        "HOOKLINE_KAFKA_EVENT_RETENTION_S": str(config.event_retention_s),
    }
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pipeline.cli", "topics", "plan"),
        cwd=ROOT,
        env=select_environ(os.environ) | environ,
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await running.communicate()
    return output.decode().splitlines()


async def test_topics_that_were_grown_by_hand(kafka: str, topic_prefix: str) -> None:
    """Some with more partitions end no process at its start: the others show what was declared. All of them do."""
    config, topics = await make_topics(kafka, topic_prefix, partitions=1)
    admin = AdminClient({"bootstrap.servers": kafka}, logger=None)
    names = [topic.name for topic in topics.all()]
    for number, name in enumerate(names, 1):
        (grown,) = admin.create_partitions([NewPartitions(name, 2)]).values()
        await asyncio.to_thread(grown.result, 30)
        if number == len(names) - 1:
            # brokers learn of it a moment later
            await eventually(lambda: names[:-1] == list_mismatches(config, topics))
            verify_topics(config, topics)

    await eventually(lambda: names == list_mismatches(config, topics))
    with pytest.raises(StartError, match="has 2 partitions, 1 are declared"):
        verify_topics(config, topics)


def list_mismatches(config: KafkaConfig, topics: Topics) -> list[str]:
    return [each.topic for each in plan_topics(config, topics) if each.kind == "mismatch"]


async def test_another_number_of_partitions_is_refused(kafka: str, topic_prefix: str) -> None:
    """The number of partitions decides where every key lives; the message says what to set."""
    config, topics = await make_topics(kafka, topic_prefix, partitions=2)
    other = declare_topics(prefix=topic_prefix, partitions=3, event_retention_s=DAY_S)

    for ask in (apply_topics, verify_topics):
        with pytest.raises(StartError, match=r"has 2 partitions, 3 are declared .*HOOKLINE_KAFKA_PARTITIONS"):
            ask(config, other)
    assert [] == plan_topics(config, topics)


def test_missing_topics_are_named(kafka: str, topic_prefix: str) -> None:
    """The message has the command that makes them."""
    topics = declare_topics(prefix=topic_prefix, partitions=2, event_retention_s=DAY_S)

    with pytest.raises(StartError, match=r"topics are missing: .*\.events.*`hookline topics apply`"):
        verify_topics(configure(kafka, topic_prefix), topics)


def test_a_broker_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the setting that says where the broker is."""
    monkeypatch.setattr("pipeline.kafka.admin.ANSWER_TIMEOUT_S", 1.0)
    topics = declare_topics(prefix="x.", partitions=2, event_retention_s=DAY_S)

    with pytest.raises(StartError, match=r"cannot reach Kafka at 127\.0\.0\.1:1: .*HOOKLINE_KAFKA_BOOTSTRAP_SERVERS"):
        plan_topics(configure("127.0.0.1:1", "x."), topics)


async def test_where_a_partition_ends(kafka: str, topic_prefix: str) -> None:
    """The offset that the next record will have; many may ask at once."""
    config, topics = await make_topics(kafka, topic_prefix)
    ends = LogEnds(config)
    try:
        for partition in (0, 1):
            await eventually(lambda partition=partition: has_leader(ends, topics.events, partition))  # type: ignore[misc]  # bound for this turn
        assert 0 == await ends.end_offset(topics.events, 1)
        PlainClient(kafka).write(topics.events, [(b"k", b"v")] * 3, partition=1)

        assert [3] * 10 == await asyncio.gather(*(ends.end_offset(topics.events, 1) for _ in range(10)))
        assert 0 == await ends.end_offset(topics.events, 0)
        assert {0: 0, 1: 3} == await ends.end_offsets(topics.events, [1, 0])
    finally:
        await ends.close()


async def has_leader(ends: LogEnds, topic: Topic, partition: int) -> bool:
    """Is the leader of a partition known, which was made a moment ago?"""
    try:
        await ends.end_offset(topic, partition)
    except TimeoutError:
        return False
    return True
