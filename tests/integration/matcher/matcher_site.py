"""A matcher process with nothing around it but Kafka: routes and events are written straight into its topics."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar
from uuid import uuid4

from confluent_kafka import Consumer, Message, TopicPartition
from confluent_kafka.admin import AdminClient

from pipeline.config import KafkaConfig
from pipeline.core.events.records import (
    Delivery,
    Dispatch,
    Event,
    Record,
    Routes,
    RoutesChanged,
    from_bytes,
    is_probe,
    to_bytes,
)
from pipeline.kafka.admin import apply_topics
from pipeline.topics import Topic, declare_topics
from tests.support.eventually import eventually
from tests.support.log import find_ends, read_log
from tests.support.outside_producer import OutsideProducer
from tests.support.single_process import SingleProcess

PARTITIONS = 4
EVENT_TYPE = "billing.invoice.paid"

RecordT = TypeVar("RecordT", bound=Record)


class MatcherSite(OutsideProducer):
    """Topics of its own, a producer like an outside one, and what is read back."""

    def __init__(
        self, bootstrap_servers: str, topic_prefix: str, *, partitions: int = PARTITIONS, **producer: Any
    ) -> None:
        """`producer`: more options of the producer, `compression_type="gzip"`."""
        super().__init__(bootstrap_servers, **{"enable_idempotence": True} | producer)
        self.config = KafkaConfig(bootstrap_servers=bootstrap_servers, topic_prefix=topic_prefix, partitions=partitions)
        self.topics = declare_topics(prefix=topic_prefix, partitions=partitions, event_retention_s=7 * 86_400)
        self.group = f"{topic_prefix}matcher"

    async def prepare(self) -> "MatcherSite":
        """Create the topics."""
        await asyncio.to_thread(apply_topics, self.config, self.topics)
        return self

    def matcher(self, **settings: str) -> SingleProcess:
        """A matcher process, not started yet; more settings as `MATCHER_ROUTES_WAIT_S="1"`."""
        return SingleProcess(
            "matcher",
            {
                "HOOKLINE_KAFKA_BOOTSTRAP_SERVERS": self.config.bootstrap_servers,
                "HOOKLINE_KAFKA_TOPIC_PREFIX": self.config.topic_prefix,
                "HOOKLINE_KAFKA_PARTITIONS": str(self.config.partitions),
                "HOOKLINE_KAFKA_SESSION_TIMEOUT_S": "6",
                "HOOKLINE_PROCESS_LOG_FORMAT": "text",
                # no deliver settles anything here: all deliveries go to their own topic
                "HOOKLINE_MATCHER_UNSETTLED_MAX": "1000000",
                **{f"HOOKLINE_{name}": value for name, value in settings.items()},
            },
        )

    def publish(
        self,
        application_id: str,
        subscriptions: Mapping[str, Mapping[str, str]],
        *,
        version: int = 1,
        event_types: Iterable[str] = (EVENT_TYPE,),
        deleted: bool = False,
        marker: bool = False,
    ) -> None:
        """Publish routes. `subscriptions`: labels by subscription id, each of them for `EVENT_TYPE`."""
        routes = Routes(
            application_id=application_id,
            organization_id=str(uuid4()),
            version=version,
            changed_at_us=time.time_ns() // 1000,
            deleted=deleted,
            event_types=list(event_types),
            subscriptions=[
                {"subscription_id": each, "enabled": True, "event_types": [EVENT_TYPE], "labels": dict(labels)}
                for each, labels in subscriptions.items()
            ],
            secret_hashes=[],
        )
        self.write_bytes(self.topics.routes, application_id.encode(), to_bytes(routes))
        self.flush()
        if marker:
            self.mark(application_id, version)

    def mark(self, application_id: str, version: int) -> None:
        """Write the marker that says from here on."""
        marker = RoutesChanged(
            application_id=application_id, routes_version=version, changed_at_us=time.time_ns() // 1000
        )
        self.write_bytes(self.topics.events, application_id.encode(), to_bytes(marker))
        self.flush()

    def send(self, application_id: str, count: int = 1, **fields: Any) -> list[Event]:
        """Write events of one application, in this order; wait until they are there."""
        events = [make_event(application_id, **fields) for _ in range(count)]
        for event in events:
            self.write_bytes(self.topics.events, application_id.encode(), to_bytes(event))
        self.flush()
        return events

    def read(self, topic: Topic) -> list[Message]:
        """All records of a topic, to its present end, by partition. Probes mean nothing to readers."""
        messages = read_log(self.config.bootstrap_servers, topic)
        return [message for message in messages if not is_probe(message.value())]

    def read_records(self, topic: Topic, record_type: type[RecordT]) -> list[RecordT]:
        """Read the records of a topic, decoded."""
        records = [from_bytes(message.value() or b"") for message in self.read(topic)]
        return [record for record in records if isinstance(record, record_type)]

    async def dispatches(self, count: int, *, timeout_s: float = 30.0) -> list[Dispatch]:
        """Wait for dispatches of at least `count` different events; all there are, repeats included, by partition."""
        topic = self.topics.dispatches

        def find() -> list[Dispatch]:
            # as many as are wanted, before all of them are read
            assert sum(self.ends(topic).values()) >= count, f"fewer than {count} dispatches"
            found = self.read_records(topic, Dispatch)
            different = len({(dispatch.application_id, dispatch.event_id) for dispatch in found})
            assert different >= count, f"{different} events were dispatched, {count} expected"
            return found

        return await eventually(find, timeout_s=timeout_s)

    async def deliveries(self, count: int, *, timeout_s: float = 30.0) -> list[Delivery]:
        """Wait for at least `count` different deliveries; all there are. A dispatch may be there before them."""

        def find() -> list[Delivery]:
            found = self.read_records(self.topics.deliveries, Delivery)
            different = len({delivery.delivery_id for delivery in found})
            assert different >= count, f"{different} deliveries, {count} expected"
            return found

        return await eventually(find, timeout_s=timeout_s)

    async def wait_for(self, topic: Topic, count: int, *, timeout_s: float = 30.0) -> None:
        """Wait until a topic has `count` records."""

        def check() -> bool:
            found = sum(self.ends(topic).values())
            if found >= count:
                found = self.count(topic)  # without probes, which takes reading
            assert found >= count, f"{topic.name} has {found} records, {count} expected"
            return True

        await eventually(check, timeout_s=timeout_s)

    def count(self, topic: Topic) -> int:
        """How many records a topic has got, without probes."""
        return len(self.read(topic))

    def ends(self, topic: Topic) -> dict[int, int]:
        """Where each partition ends."""
        consumer = self._open_consumer()
        try:
            return find_ends(consumer, topic)
        finally:
            consumer.close()

    def committed(self) -> dict[int, int]:
        """How far the matcher has committed each partition of the events; where it has not, 0."""
        topic, consumer = self.topics.events, self._open_consumer()
        try:
            parts = [TopicPartition(topic.name, number) for number in range(topic.partitions)]
            return {part.partition: max(0, part.offset) for part in consumer.committed(parts, timeout=60)}
        finally:
            consumer.close()

    def members(self) -> int:
        """How many processes are in the matcher's group, or wait to get in."""
        admin = AdminClient({"bootstrap.servers": self.config.bootstrap_servers}, logger=None)
        (described,) = admin.describe_consumer_groups([self.group]).values()
        return len(described.result(60).members)

    def _open_consumer(self) -> Consumer:
        return Consumer({"bootstrap.servers": self.config.bootstrap_servers, "group.id": self.group}, logger=None)


def make_id() -> str:
    return str(uuid4())


def make_event(application_id: str, **fields: Any) -> Event:
    """An event that is fine, unless `fields` say otherwise."""
    now_us = time.time_ns() // 1000
    usual: dict[str, Any] = {
        "application_id": application_id,
        "event_id": str(uuid4()),
        "event_type": EVENT_TYPE,
        "payload": b'{"n":1}',
        "payload_content_type": "text/plain" if fields.get("payload", b"")[:1] == b"x" else "application/json",
        "labels": {"region": "eu"},
        "occurred_at_us": now_us,
        "received_at_us": now_us,
    }
    return Event(**usual | fields)


def deliveries_by_event(deliveries: Iterable[Delivery]) -> dict[str, Counter[str]]:
    """Event id → how often each subscription got a delivery of it."""
    found: dict[str, Counter[str]] = {}
    for delivery in deliveries:
        found.setdefault(delivery.event_id, Counter())[delivery.subscription_id] += 1
    return found
