"""A deliver process with nothing around it but Kafka: endpoints and deliveries are written straight into its topics."""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass
from uuid import uuid4

from confluent_kafka import Consumer, TopicPartition

from pipeline.config import KafkaConfig
from pipeline.core.events.ids import derive_delivery_id
from pipeline.core.events.records import Attempt, Delivery, Endpoint, Probe, Record, from_bytes, to_bytes
from pipeline.core.signing.sealing import Sealer, parse_keys
from pipeline.kafka.admin import apply_topics
from pipeline.topics import Topic, declare_topics
from tests.support.eventually import eventually
from tests.support.log import read_log
from tests.support.outside_producer import OutsideProducer
from tests.support.single_process import SingleProcess

KEYS = "test:" + "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
NEW_KEYS = "new:" + "HxwdHhsaGRgXFhUUExIREA8ODQwLCgkIBwYFBAMCAQA="
SECRET = "4f8c1c3e-6f3b-4a57-9b1c-0d6d3d0a8f11"
PARTITIONS = 4


@dataclass(frozen=True, slots=True)
class Subscriber:
    """One subscription with its endpoint."""

    subscription_id: str
    url: str
    application_id: str


class DeliverSite(OutsideProducer):
    """Topics of its own, a producer, and what is read back."""

    def __init__(
        self, bootstrap_servers: str, topic_prefix: str, *, partitions: int = PARTITIONS, compression: str = "none"
    ) -> None:
        super().__init__(bootstrap_servers, compression_type=compression)
        self.config = KafkaConfig(bootstrap_servers=bootstrap_servers, topic_prefix=topic_prefix, partitions=partitions)
        self.topics = declare_topics(prefix=topic_prefix, partitions=partitions, event_retention_s=86_400)
        self.application_id = str(uuid4())
        self._bootstrap_servers = bootstrap_servers
        self._nonces = iter(range(1, 1_000_000))

    async def prepare(self) -> "DeliverSite":
        """Create the topics."""
        await asyncio.to_thread(apply_topics, self.config, self.topics)
        return self

    def environ(self, **settings: str) -> dict[str, str]:
        """Settings of a process of this site; more as `WORKER_CONCURRENCY="2"`."""
        return {
            "HOOKLINE_KAFKA_BOOTSTRAP_SERVERS": self._bootstrap_servers,
            "HOOKLINE_KAFKA_TOPIC_PREFIX": self.config.topic_prefix,
            "HOOKLINE_KAFKA_PARTITIONS": str(self.config.partitions),
            "HOOKLINE_KAFKA_EVENT_RETENTION_S": "86400",
            "HOOKLINE_SEALING_KEYS": KEYS,
            "HOOKLINE_DELIVER_ALLOW_PRIVATE_ADDRESSES": "true",
            "HOOKLINE_PROCESS_LOG_FORMAT": "text",
            **{f"HOOKLINE_{name}": value for name, value in settings.items()},
        }

    def deliver(self, *prefix: str, **settings: str) -> SingleProcess:
        """The deliver process, not started yet. `prefix`: a command that runs it."""
        return SingleProcess("deliver", self.environ(**settings), prefix=prefix)

    def subscribe(
        self,
        url: str,
        *,
        subscription_id: str | None = None,
        version: int = 1,
        enabled: bool = True,
        deleted: bool = False,
        headers: dict[str, str] | None = None,
        cancel_before_us: int = 0,
        retry_delays_s: list[float] | None = None,
        method: str = "POST",
        concurrency_max: int | None = None,
        tls_ca_pem: str | None = None,
        keys: str = KEYS,
        rate_per_s: float | None = None,
        application_id: str | None = None,
    ) -> Subscriber:
        """Publish an endpoint, or change one. `application_id`: None: of the site's own application."""
        subscriber = Subscriber(subscription_id or str(uuid4()), url, application_id or self.application_id)
        nonce = next(self._nonces).to_bytes(12, "big")
        sealed = Sealer(parse_keys(keys)).seal(SECRET.encode(), context=subscriber.subscription_id, nonce=nonce)
        endpoint = Endpoint(
            subscription_id=subscriber.subscription_id,
            application_id=subscriber.application_id,
            version=version,
            enabled=enabled,
            deleted=deleted,
            cancel_before_us=cancel_before_us,
            method=method,
            url=url,
            headers=headers or {},
            secrets=[{"key_id": sealed.key_id, "sealed": sealed.sealed, "valid_until_us": None}],
            retry_delays_s=retry_delays_s,
            concurrency_max=concurrency_max,
            tls_ca_pem=tls_ca_pem,
            rate_per_s=rate_per_s,
        )
        self.write(self.topics.endpoints, subscriber.subscription_id, endpoint)
        self.flush()
        return subscriber

    def send(
        self,
        subscriber: Subscriber,
        *,
        count: int = 1,
        payload: bytes = b'{"n":1}',
        event_type: str = "billing.invoice.paid",
        topic: Topic | None = None,
        attempt_number: int = 1,
        due_at_us: int = 0,
        content_crc32: int | None = None,
        timestamp_ms: int = 0,
    ) -> list[Delivery]:
        """Write deliveries as the matcher does. `timestamp_ms`: where the topic takes that of its producer; 0: now."""
        deliveries = []
        for _ in range(count):
            event_id = str(uuid4())
            now_us = time.time_ns() // 1000
            delivery = Delivery(
                delivery_id=derive_delivery_id(event_id, subscriber.subscription_id, subscriber.application_id),
                subscription_id=subscriber.subscription_id,
                application_id=subscriber.application_id,
                event_id=event_id,
                event_type=event_type,
                payload=payload,
                payload_content_type="application/json",
                appended_at_us=now_us,
                received_at_us=now_us,
                matched_at_us=now_us,
                attempt_number=attempt_number,
                due_at_us=due_at_us,
                content_crc32=content_crc32,
            )
            key = subscriber.subscription_id.encode()
            self.write_bytes(topic or self.topics.deliveries, key, to_bytes(delivery), timestamp=timestamp_ms)
            deliveries.append(delivery)
        self.flush()
        return deliveries

    def write(self, topic: Topic, key: str, record: Record) -> None:
        """Write any record."""
        self.write_bytes(topic, key.encode(), to_bytes(record))

    def read(self, topic: Topic) -> list[Record]:
        """All records of a topic, to its present end, by partition. Probes mean nothing to readers."""
        messages = read_log(self._bootstrap_servers, topic, isolation="read_committed")
        records = [from_bytes(message.value() or b"") for message in messages]
        return [record for record in records if not isinstance(record, Probe)]

    def lag(self, topic: Topic, partition: int = 0) -> int:
        """How many offsets of a partition deliver has not committed."""
        group = {"bootstrap.servers": self._bootstrap_servers, "group.id": f"{self.config.topic_prefix}deliver"}
        consumer = Consumer(group, logger=None)
        try:
            place = TopicPartition(topic.name, partition)
            (found,) = consumer.committed([place], timeout=60)
            return int(consumer.get_watermark_offsets(place, timeout=60)[1] - max(0, found.offset))
        finally:
            consumer.close()

    async def attempts(self, count: int, *, timeout_s: float = 60.0) -> list[Attempt]:
        """Wait for at least `count` different attempts; all records of attempts there are, repeats included."""

        def find() -> list[Attempt]:
            found = [record for record in self.read(self.topics.attempts) if isinstance(record, Attempt)]
            different = len({attempt.attempt_id for attempt in found})
            assert different >= count, f"{different} attempts, {count} expected"
            return found

        # not on this loop, which the receiver shares: it would answer between two readings only
        return await eventually(lambda: asyncio.to_thread(find), timeout_s=timeout_s)


def ids_of(deliveries: Iterable[Delivery | Attempt]) -> list[str]:
    """Delivery ids, sorted."""
    return sorted(delivery.delivery_id for delivery in deliveries)
