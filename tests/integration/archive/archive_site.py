"""An archive process with nothing around it but Kafka and PostgreSQL: its four topics are written straight."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from pipeline.config import KafkaConfig
from pipeline.core.events.records import Attempt, DeadLetter, Dispatch, Event, Record, to_bytes
from pipeline.kafka.admin import apply_topics
from pipeline.topics import Topic, declare_topics
from tests.integration.archive.records import make_attempt, make_dead_letter, make_dispatch, make_event, make_id
from tests.integration.archive.tables import count_rows
from tests.support.eventually import eventually
from tests.support.outside_producer import OutsideProducer
from tests.support.single_process import SingleProcess

PARTITIONS = 2


class ArchiveSite(OutsideProducer):
    """Topics and a database of its own, a producer, and how far everything is."""

    def __init__(
        self, bootstrap_servers: str, topic_prefix: str, database: str, *, partitions: int = PARTITIONS, **producer: Any
    ) -> None:
        super().__init__(bootstrap_servers, enable_idempotence=True, **producer)
        self.config = KafkaConfig(bootstrap_servers=bootstrap_servers, topic_prefix=topic_prefix, partitions=partitions)
        self.topics = declare_topics(prefix=topic_prefix, partitions=partitions, event_retention_s=7 * 86_400)
        self.archived = (self.topics.events, self.topics.dispatches, self.topics.attempts, self.topics.dead)
        self.group = f"{topic_prefix}archive"
        self.database = database

    async def prepare(self) -> "ArchiveSite":
        """Create the topics."""
        await asyncio.to_thread(apply_topics, self.config, self.topics)
        return self

    def archive(self, environ: Mapping[str, str] | None = None, /, **settings: str) -> SingleProcess:
        """An archive process, not started yet; settings as `ARCHIVE_DAYS_AHEAD="1"`, anything else in `environ`."""
        given = {f"HOOKLINE_{name}": value for name, value in settings.items()}
        return SingleProcess("archive", {**self.environ(), **given, **(environ or {})})

    def environ(self) -> dict[str, str]:
        """Settings by which a process finds Kafka and PostgreSQL."""
        return {
            "HOOKLINE_KAFKA_BOOTSTRAP_SERVERS": self.config.bootstrap_servers,
            "HOOKLINE_KAFKA_TOPIC_PREFIX": self.config.topic_prefix,
            "HOOKLINE_KAFKA_PARTITIONS": str(self.config.partitions),
            "HOOKLINE_KAFKA_SESSION_TIMEOUT_S": "6",
            "HOOKLINE_DATABASE_WRITE_URL": self.database,
            "HOOKLINE_PROCESS_LOG_FORMAT": "text",
        }

    def write(self, *records: Record) -> None:
        """Write records to where they belong, under their keys."""
        for record in records:
            topic, key = self._place(record)
            self.write_bytes(topic, key, to_bytes(record))

    def load(self, events: int, *, applications: int = 8) -> "Load":
        """Write a lot: events, their dispatches with two matches each, an attempt for each match, some dead letters."""
        ids = [(make_id(), make_id(), make_id()) for _ in range(applications)]
        load = Load()
        for number in range(events):
            application_id, *subscription_ids = ids[number % applications]
            event = make_event(application_id, payload=b"x" * (number % 3000))
            dispatch = make_dispatch(event, *subscription_ids)
            attempts = [make_attempt(dispatch, match) for match in range(2)]
            load.events.append(event)
            load.attempts += attempts
            self.write(event, dispatch, *attempts)
            if number % 10 == 0:
                letter = make_dead_letter(event)
                load.letters.append(letter)
                self.write(letter)
        self.flush()
        return load

    async def wait_until_archived(self, load: "Load", *, timeout_s: float = 120.0) -> None:
        """Wait until every table has at least what belongs there, and then no less and no more."""

        def check() -> bool:
            found = {table: count_rows(self.database, table) for table in load.expected()}
            assert load.expected() == found, f"{found}, expected {load.expected()}"
            return True

        await eventually(lambda: asyncio.to_thread(check), timeout_s=timeout_s)

    async def wait_for_events(self, count: int) -> None:
        """Wait until so many events are archived."""

        def check() -> bool:
            return count_rows(self.database, "events") >= count

        # in a thread: it may wait for a lock whose holder speaks through a proxy on this loop
        await eventually(lambda: asyncio.to_thread(check), timeout_s=60)

    def ends(self) -> dict[tuple[str, int], int]:
        """Where each partition with records ends."""
        found = self._ask(lambda consumer, part: consumer.get_watermark_offsets(part, timeout=60)[1])
        return {place: end for place, end in found.items() if end}

    def committed(self) -> dict[tuple[str, int], int]:
        """How far the group has committed each partition; where it has not, 0."""
        return self._ask(lambda consumer, part: max(0, consumer.committed([part], timeout=60)[0].offset))

    def commit(self, offsets: dict[tuple[str, int], int]) -> None:
        """Commit in the name of the group, while it has no members."""
        self._ask(
            lambda consumer, part: consumer.commit(
                offsets=[TopicPartition(part.topic, part.partition, offsets[part.topic, part.partition])],
                asynchronous=False,
            )
        )

    def forget(self) -> None:
        """Delete the group, while it has no members, with all it has committed."""
        admin = AdminClient({"bootstrap.servers": self.config.bootstrap_servers}, logger=None)
        (deleted,) = admin.delete_consumer_groups([self.group]).values()
        deleted.result(60)

    def _ask(self, question: Any) -> dict[tuple[str, int], int]:
        consumer = Consumer({"bootstrap.servers": self.config.bootstrap_servers, "group.id": self.group}, logger=None)
        try:
            return {
                (topic.name, number): question(consumer, TopicPartition(topic.name, number))
                for topic in self.archived
                for number in range(topic.partitions)
            }
        finally:
            consumer.close()

    def _place(self, record: Record) -> tuple[Topic, bytes]:
        match record:
            case Event() | Dispatch():
                topic = self.topics.events if isinstance(record, Event) else self.topics.dispatches
                return topic, record.application_id.encode()
            case Attempt():
                return self.topics.attempts, record.subscription_id.encode()
            case DeadLetter():
                return self.topics.dead, record.source_key or b""
        raise TypeError(f"the archive does not read {type(record).__name__}")


class Load:
    """Records that were written, by kind."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.attempts: list[Attempt] = []
        self.letters: list[DeadLetter] = []

    def expected(self) -> dict[str, int]:
        """Rows by table."""
        return {
            "events": len(self.events),
            "dispatches": len(self.events),
            "deliveries": len(self.attempts),
            "attempts": len(self.attempts),
            "dead_letters": len(self.letters),
        }

    def add(self, other: "Load") -> "Load":
        self.events += other.events
        self.attempts += other.attempts
        self.letters += other.letters
        return self


def ids_of(rows: Iterable[dict[str, Any]], column: str) -> list[str]:
    return sorted(str(row[column]) for row in rows)
