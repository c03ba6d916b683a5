"""Topics as they are against topics as declared: plan, apply, verify; and where a partition ends."""

import asyncio
import threading
import time
from collections.abc import Collection, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
    TopicMetadata,
)

from pipeline.config import KafkaConfig
from pipeline.core.events.producer_record import name_topic
from pipeline.kafka.client_errors import CLIENT_ERRORS, describe_failure
from pipeline.kafka.listening import describe_unreachable
from pipeline.kafka.options import open_admin, view_options
from pipeline.start_error import StartError
from pipeline.topics import Topic, Topics

ANSWER_TIMEOUT_S = 10.0
BROKER_TIMEOUT_S = 3.0  # of one of several
SETTLE_POLL_S = 0.05
OFFSETS_RETENTION = "offsets.retention.minutes"
MIN_IN_SYNC = "min.insync.replicas"

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """The step of `topics apply` for one topic. `kind`: create, configure or mismatch (which it cannot mend).

    `is_grown`: the mismatch is that it has more partitions than were declared.
    """

    topic: str
    kind: str
    detail: str
    is_grown: bool = False


def plan_topics(config: KafkaConfig, topics: Topics) -> list[Change]:
    """Compare the cluster with the declaration; empty when they agree. Raises `StartError` when it cannot be asked."""
    admin = open_admin(config)
    existing = _list_partitions(admin, config)
    changes: list[Change] = []
    for topic in topics.all():
        partitions = existing.get(topic.name)
        if partitions is None:
            changes.append(Change(topic=topic.name, kind="create", detail=f"{topic.partitions} partitions"))
        elif partitions != topic.partitions:
            detail = f"it has {partitions} partitions, {topic.partitions} are declared (HOOKLINE_KAFKA_PARTITIONS)"
            is_grown = partitions > topic.partitions
            changes.append(Change(topic=topic.name, kind="mismatch", detail=detail, is_grown=is_grown))
    present = [topic for topic in topics.all() if existing.get(topic.name) == topic.partitions]
    try:
        return changes + _plan_configs(admin, present, config)
    except StartError:
        # a client asks one broker for all, which may have gone a moment ago; a new client asks another one
        return changes + _plan_configs(open_admin(config), present, config)


def apply_topics(config: KafkaConfig, topics: Topics) -> list[Change]:
    """Create missing topics and correct settings; returns the changes. Raises `StartError`, also on a mismatch."""
    changes = plan_topics(config, topics)
    _refuse_mismatch(changes)
    admin = open_admin(config)
    by_name = {topic.name: topic for topic in topics.all()}
    missing = [by_name[change.topic] for change in changes if change.kind == "create"]
    _create(admin, missing, config)
    # one setting at a time: other settings made by an operator stay
    resources = [
        ConfigResource(
            ResourceType.TOPIC,
            change.topic,
            incremental_configs=[
                ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
                for name, value in by_name[change.topic].config(record_max_bytes=config.record_max_bytes).items()
            ],
        )
        for change in changes
        if change.kind == "configure"
    ]
    altered = admin.incremental_alter_configs(resources, request_timeout=ANSWER_TIMEOUT_S) if resources else {}
    for resource, future in altered.items():
        _wait_for(future, f"configure topic {resource.name}")
    return changes


def create_producer_topic(config: KafkaConfig, application_id: str, partitions: int) -> tuple[str, int]:
    """Create the topic of an application's producers, unless it is there; its name, and the partitions that it has.

    Raises `StartError`.
    """
    topic = Topic(
        name=name_topic(config.topic_prefix, application_id),
        records=("event",),
        key="any",
        partitions=partitions,
        retention_s=config.event_retention_s,
    )
    admin = open_admin(config)
    found = _list_partitions(admin, config).get(topic.name)
    if found is None:
        _create(admin, [topic], config)
    return topic.name, partitions if found is None else found


def _create(admin: AdminClient, topics: Sequence[Topic], config: KafkaConfig) -> None:
    """Create topics; existing ones stay as they are. Raises `StartError`."""
    new = [
        NewTopic(
            topic.name,
            num_partitions=topic.partitions,
            replication_factor=config.replication_factor,
            config=topic.config(record_max_bytes=config.record_max_bytes),
        )
        for topic in topics
    ]
    for name, future in admin.create_topics(new, request_timeout=ANSWER_TIMEOUT_S).items() if new else ():
        try:
            _wait_for(future, f"create topic {name}")
        except StartError as error:
            if not _is_there_already(error.__cause__):  # another process was quicker
                raise
    _wait_until_there(admin, topics, config)


def verify_topics(config: KafkaConfig, topics: Topics) -> None:
    """Raise `StartError` unless every topic exists with the declared partitions.

    Some may have been grown beside others that were not: the others show what was meant, and what is written goes to
    the declared partitions (`Topic.locate`). If all have more, the declaration is what is wrong.
    """
    changes = plan_topics(config, topics)
    grown = [change for change in changes if change.is_grown]
    if len(grown) < len(topics.all()):
        changes = [change for change in changes if change not in grown]
    _refuse_mismatch(changes)
    missing = [change.topic for change in changes if change.kind == "create"]
    if missing:
        raise StartError(f"topics are missing: {', '.join(missing)}; create them with `hookline topics apply`")


def _wait_until_there(admin: AdminClient, topics: Sequence[Topic], config: KafkaConfig) -> None:
    """Wait until every broker knows the topics: one answers that they are made before others do. Raises `StartError`.

    A process that asks one of the others would not start. A broker that does not answer is not waited for.
    """
    deadline_s = time.monotonic() + ANSWER_TIMEOUT_S
    asked = _open_each(admin, config) if topics else []
    while topics:
        left = [topic for each in asked for topic in _list_missing(each, topics)]
        if not left:
            return
        if time.monotonic() > deadline_s:
            names = ", ".join(sorted({topic.name for topic in left}))
            raise StartError(
                f"topics were made and have no leader: {names}; see that all brokers run, then run the command again"
            )
        time.sleep(SETTLE_POLL_S)


def _open_each(admin: AdminClient, config: KafkaConfig) -> list[AdminClient]:
    """A client of each broker. A client asks any that it is connected to: at first only the one that it was given."""
    clients = []
    for broker in admin.list_topics(timeout=ANSWER_TIMEOUT_S).brokers.values():
        host = f"[{broker.host}]" if ":" in str(broker.host) else broker.host
        clients.append(open_admin(config.model_copy(update={"bootstrap_servers": f"{host}:{broker.port}"})))
    return clients


def _list_missing(admin: AdminClient, topics: Sequence[Topic]) -> list[Topic]:
    try:
        known = admin.list_topics(timeout=BROKER_TIMEOUT_S).topics
    except KafkaException:
        return []  # it is away
    return [topic for topic in topics if not _is_there(known.get(topic.name), topic)]


def _is_there(metadata: TopicMetadata | None, topic: Topic) -> bool:
    return (
        metadata is not None
        and metadata.error is None
        and len(metadata.partitions) == topic.partitions
        and all(partition.leader >= 0 and partition.error is None for partition in metadata.partitions.values())
    )


def _refuse_mismatch(changes: list[Change]) -> None:
    wrong = [f"{change.topic}: {change.detail}" for change in changes if change.kind == "mismatch"]
    if wrong:
        raise StartError(
            "topics do not fit their declaration: "
            + "; ".join(wrong)
            + ". The number of partitions decides where a key "
            "lives and cannot be changed later: set HOOKLINE_KAFKA_PARTITIONS to what the topics have, or choose "
            "another HOOKLINE_KAFKA_TOPIC_PREFIX"
        )


def _list_partitions(admin: AdminClient, config: KafkaConfig) -> dict[str, int]:
    CLIENT_ERRORS.last = None
    try:
        metadata = admin.list_topics(timeout=ANSWER_TIMEOUT_S)
    except KafkaException as error:
        admin.poll(0)  # has the client's errors reported
        reason = CLIENT_ERRORS.last or error.args[0].str()
        raise StartError(describe_unreachable(config, reason)) from error
    return {name: len(topic.partitions) for name, topic in metadata.topics.items()}


def _plan_configs(admin: AdminClient, topics: list[Topic], config: KafkaConfig) -> list[Change]:
    changes = []
    for topic, actual in describe_settings(admin, topics).items():
        wanted = topic.config(record_max_bytes=config.record_max_bytes)
        differing = [
            f"{name}={value} (is {actual.get(name)})" for name, value in wanted.items() if actual.get(name) != value
        ]
        if differing:
            changes.append(Change(topic=topic.name, kind="configure", detail=", ".join(differing)))
    return changes


def describe_settings(admin: AdminClient, topics: Sequence[Topic]) -> dict[Topic, dict[str, str | None]]:
    """Every setting of each topic, as the brokers have it. Raises `StartError` when they cannot be asked."""
    by_name = {topic.name: topic for topic in topics}
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in by_name]
    found = {}
    described = admin.describe_configs(resources, request_timeout=ANSWER_TIMEOUT_S) if resources else {}
    for resource, future in described.items():
        actual: dict[str, Any] = _wait_for(future, f"ask how topic {resource.name} is configured")
        found[by_name[resource.name]] = {name: entry.value for name, entry in actual.items()}
    return found


def _wait_for(future: "Future[T]", what: str) -> T:
    """The brokers' answer. Raises `StartError` when it is an error, or there is none."""
    try:
        return future.result(2 * ANSWER_TIMEOUT_S)  # the client gives up before
    except (KafkaException, TimeoutError) as error:
        raise StartError(describe_failure(what, error)) from error


def _is_there_already(error: BaseException | None) -> bool:
    return isinstance(error, KafkaException) and error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS


def find_offsets_retention_s(config: KafkaConfig) -> float | None:
    """How long brokers keep the offsets of a group without members, the least of them. None: they do not say."""
    admin = open_admin(config)
    try:
        brokers = admin.list_topics(timeout=ANSWER_TIMEOUT_S).brokers
    except KafkaException:
        return None
    minutes = []
    resources = [ConfigResource(ResourceType.BROKER, str(broker)) for broker in brokers]
    for future in admin.describe_configs(resources, request_timeout=ANSWER_TIMEOUT_S).values():
        try:
            entry = _wait_for(future, "ask how a broker is configured").get(OFFSETS_RETENTION)
        except StartError:
            continue  # ACLs may allow a client its topics and nothing about brokers; or this one is away
        if entry is not None and entry.value is not None:
            minutes.append(float(entry.value))
    return min(minutes) * 60 if minutes else None


LATEST = -1


class LogEnds:
    """Asks where partitions end. Its consumer reads nothing; a lock keeps it to one thread at a time."""

    def __init__(self, config: KafkaConfig, *, with_open: bool = False) -> None:
        """`with_open`: the end of all records; otherwise the end of readable ones, before open transactions."""
        isolation = "read_uncommitted" if with_open else "read_committed"
        self._consumer = Consumer(view_options(config) | {"isolation.level": isolation}, logger=None)
        self._lock = threading.Lock()

    async def end_offset(self, topic: Topic, partition: int) -> int:
        """The offset the next record will get. Raises `TimeoutError` when Kafka does not answer."""
        _, end = await self.bounds(topic, partition)
        return end

    async def end_offsets(self, topic: Topic, partitions: Collection[int]) -> dict[int, int]:
        """The end offsets of some partitions, in one request to each broker."""
        return await asyncio.to_thread(self._ask_ends, topic.name, partitions)

    async def bounds(self, topic: Topic, partition: int) -> tuple[int, int]:
        """The offset of the first record, and the one the next record will get. Raises as `end_offset`."""
        return await asyncio.to_thread(self._ask, topic.name, partition)

    async def close(self) -> None:
        await asyncio.to_thread(self._consumer.close)

    def _ask_ends(self, topic: str, partitions: Collection[int]) -> dict[int, int]:
        # the only way to ask that takes one request; a timestamp of -1 is the end in Kafka's protocol
        asked = [TopicPartition(topic, partition, LATEST) for partition in partitions]
        with self._lock:
            try:
                found = self._consumer.offsets_for_times(asked, timeout=2.0)
            except KafkaException as error:
                raise TimeoutError(error.args[0].str()) from error
        for each in found:
            if each.error is not None or each.offset < 0:
                raise TimeoutError(each.error.str() if each.error is not None else "no answer")
        return {each.partition: int(each.offset) for each in found}

    def _ask(self, topic: str, partition: int) -> tuple[int, int]:
        with self._lock:
            try:
                begin, end = self._consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=2.0)
            except KafkaException as error:
                raise TimeoutError(error.args[0].str()) from error
        return int(begin), int(end)
