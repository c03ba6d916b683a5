"""A member of a consumer group, on a real broker."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from pipeline.config import KafkaConfig
from pipeline.kafka.commit_metadata import split_note
from pipeline.kafka.group.consumer import LogConsumer
from pipeline.kafka.group.handler import Handler
from pipeline.kafka.group.in_flight import Limits
from pipeline.kafka.group.loop_side import RETRIES_AT_ONCE
from pipeline.kafka.read_faults import ReadFault
from pipeline.kafka.record import Committed, LogRecord, Place
from pipeline.metrics import CommitResult
from pipeline.topics import Topic
from tests.integration.kafka.logs import PlainClient, make_topics
from tests.support.eventually import eventually

LIMITS = Limits(batch_max_records=100, in_flight_max_records=10_000, in_flight_max_bytes=64 * 1024 * 1024)


class Clerk:
    """A handler that writes down what happens. `starts`: where to begin; `leaves`: what to commit on revocation."""

    def __init__(self) -> None:
        self.records: list[LogRecord] = []
        self.committed: dict[Place, Committed | None] = {}
        self.held: set[Place] = set()
        self.gone: list[Place] = []
        self.ends: dict[Place, int] = {}
        self.starts: dict[Place, int] = {}
        self.leaves: dict[Place, Committed] = {}
        self.results: list[CommitResult] = []
        self.deleted: dict[Place, int] = {}
        self.faults: list[ReadFault] = []
        self.ends_read: dict[Place, int] = {}
        self.error: Exception | None = None

    async def assigned(self, committed: Mapping[Place, Committed | None]) -> Mapping[Place, int]:
        if self.error is not None:
            raise self.error
        self.committed |= committed
        self.held |= committed.keys()
        return {place: start for place, start in self.starts.items() if place in committed}

    async def revoked(self, places: Sequence[Place]) -> Mapping[Place, Committed]:
        self.held -= set(places)
        self.gone += places
        return {place: self.leaves[place] for place in places if place in self.leaves}

    def lost(self, places: Sequence[Place]) -> None:
        self.held -= set(places)

    def received(self, records: Sequence[LogRecord]) -> None:
        self.records += records

    def began_anew(self, fault: ReadFault) -> None:
        self.faults.append(fault)

    def measured(self, ends: Mapping[Place, int]) -> None:
        self.ends |= ends

    def commit_ended(self, result: CommitResult) -> None:
        self.results.append(result)

    def reached(self, place: Place, offset: int) -> None:
        self.ends_read[place] = offset

    def met(self, fault: ReadFault) -> None:
        self.faults.append(fault)

    def missing(self, place: Place, records: int) -> None:
        self.deleted[place] = self.deleted.get(place, 0) + records

    def handler(self) -> Handler:
        return Handler(
            assignment=self,
            changes=self,
            received=self.received,
            measured=self.measured,
            commit_ended=self.commit_ended,
        )

    def values(self) -> list[bytes | None]:
        return [record.value for record in self.records]


@asynccontextmanager
async def consume(
    config: KafkaConfig, clerk: Clerk, topic_prefix: str, *topics: Topic, limits: Limits = LIMITS, **options: Any
) -> AsyncIterator[LogConsumer]:
    consumer = LogConsumer(config, group=f"{topic_prefix}group", topics=topics, limits=limits, **options)
    consumer.start(clerk.handler())
    try:
        yield consumer
    finally:
        await consumer.close()
        await consumer.failure()


def read_committed(config: KafkaConfig, topic_prefix: str, topic: Topic) -> dict[int, tuple[int, str]]:
    consumer = Consumer(
        {"bootstrap.servers": config.bootstrap_servers, "group.id": f"{topic_prefix}group"}, logger=None
    )
    try:
        places = [TopicPartition(topic.name, number) for number in range(topic.partitions)]
        found = consumer.committed(places, timeout=60)
        return {part.partition: (part.offset, split_note(part.metadata)[1]) for part in found}
    finally:
        consumer.close()


async def test_everything_is_read_once_in_order(kafka: str, topic_prefix: str) -> None:
    """Reading begins at the beginning where nothing was committed; each partition comes in its order."""
    config, topics = await make_topics(kafka, topic_prefix)
    client, clerk = PlainClient(kafka), Clerk()
    client.write(topics.events, [(b"%d" % (n % 20), b"%d" % n) for n in range(2000)])
    async with consume(config, clerk, topic_prefix, topics.events):
        await eventually(lambda: len(clerk.records) == 2000)
        client.write(topics.events, [(None, None)])
        await eventually(lambda: len(clerk.records) == 2001)
        await eventually(lambda: sum(clerk.ends.values()) == 2001)

    for partition in (0, 1):
        offsets = [record.offset for record in clerk.records if record.partition == partition]
        assert list(range(len(offsets))) == offsets
    assert {None} == set(clerk.committed.values())
    assert abs(clerk.records[0].timestamp_us - time.time_ns() // 1000) < 60_000_000


async def test_commits_carry_a_note_and_are_where_the_next_begins(kafka: str, topic_prefix: str) -> None:
    """The next owner gets offset and metadata back; a handler that knows a better start begins there."""
    config, topics = await make_topics(kafka, topic_prefix)
    client = PlainClient(kafka)
    for partition in (0, 1):
        client.write(topics.events, [(b"k", b"%d" % n) for n in range(10)], partition=partition)
    places = [(topics.events.name, partition) for partition in (0, 1)]
    first, second = Clerk(), Clerk()
    async with consume(config, first, topic_prefix, topics.events) as consumer:
        await eventually(lambda: len(first.records) == 20)
        consumer.commit({places[0]: Committed(4, "a note"), places[1]: Committed(6)})
        await eventually(lambda: read_committed(config, topic_prefix, topics.events)[0] == (4, "a note"))
    second.starts = {places[1]: 8}
    async with consume(config, second, topic_prefix, topics.events):
        await eventually(lambda: len(second.records) == 8)

    assert {places[0]: Committed(4, "a note"), places[1]: Committed(6, "")} == second.committed
    assert [*((0, offset) for offset in range(4, 10)), (1, 8), (1, 9)] == sorted(
        (record.partition, record.offset) for record in second.records
    )


async def test_what_is_left_at_the_end_is_committed(kafka: str, topic_prefix: str) -> None:
    """Closing asks the handler, and commits its offsets before another member can begin."""
    config, topics = await make_topics(kafka, topic_prefix)
    clerk = Clerk()
    clerk.leaves = {(topics.events.name, 0): Committed(3, "last"), (topics.events.name, 1): Committed(5)}
    async with consume(config, clerk, topic_prefix, topics.events):
        await eventually(lambda: len(clerk.held) == 2)

    assert {0: (3, "last"), 1: (5, "")} == read_committed(config, topic_prefix, topics.events)
    assert set() == clerk.held


async def test_partitions_move_to_a_new_member(kafka: str, topic_prefix: str) -> None:
    """One by one, with what is to be committed for them; the others go on without a pause; and back again."""
    config, topics = await make_topics(kafka, topic_prefix, partitions=4)
    client, first, second = PlainClient(kafka), Clerk(), Clerk()
    first.leaves = {(topics.events.name, partition): Committed(1, "moved") for partition in range(4)}
    for partition in range(4):
        client.write(topics.events, [(b"k", b"0")], partition=partition)
    async with consume(config, first, topic_prefix, topics.events):
        await eventually(lambda: (len(first.held), len(first.records)) == (4, 4))
        async with consume(config, second, topic_prefix, topics.events):
            await eventually(lambda: (len(first.held), len(second.held)) == (2, 2))
            assert second.held == set(first.gone)
            assert {Committed(1, "moved")} == set(second.committed.values())
            assert first.held | second.held == {(topics.events.name, partition) for partition in range(4)}
            for partition in range(4):
                client.write(topics.events, [(b"k", b"1")], partition=partition)
            await eventually(lambda: (len(first.records), len(second.records)) == (6, 2))
            assert {b"1"} == set(second.values())
        await eventually(lambda: len(first.held) == 4)


async def test_companions_have_the_same_partitions(kafka: str, topic_prefix: str) -> None:
    """Everything about one key meets in one process: what is assigned of the first topic is assigned of them."""
    config, topics = await make_topics(kafka, topic_prefix, partitions=4)
    first, second = Clerk(), Clerk()
    companions = topics.retries[:2]
    names = {topic.name for topic in (topics.deliveries, *companions)}
    async with consume(config, first, topic_prefix, topics.deliveries, companions=companions):
        await eventually(lambda: len(first.held) == 12)
        async with consume(config, second, topic_prefix, topics.deliveries, companions=companions):
            await eventually(lambda: (len(first.held), len(second.held)) == (6, 6))
            for clerk in (first, second):
                numbers = {partition for _, partition in clerk.held}
                assert {(name, number) for name in names for number in numbers} == clerk.held
            assert not first.held & second.held
        await eventually(lambda: len(first.held) == 12)


async def test_a_delayed_record_stays_in_kafka_until_it_is_due(kafka: str, topic_prefix: str) -> None:
    """A second after it was written, not before, and in order; what is not delayed does not wait for it."""
    config, topics = await make_topics(kafka, topic_prefix, partitions=1)
    client, clerk = PlainClient(kafka), Clerk()
    tier = topics.retries[0]
    async with consume(config, clerk, topic_prefix, topics.deliveries, companions=[tier]):
        await eventually(lambda: len(clerk.held) == 2)
        client.write(tier, [(b"k", b"late %d" % n) for n in range(50)])
        client.write(topics.deliveries, [(b"k", b"now")])
        await eventually(lambda: b"now" in clerk.values())
        arrived_at_us = 0

        def check() -> bool:
            nonlocal arrived_at_us
            arrived_at_us = time.time_ns() // 1000
            return len(clerk.records) > 1

        await eventually(check)
        await eventually(lambda: len(clerk.records) == 51)

    assert [b"now", *(b"late %d" % n for n in range(50))] == clerk.values()
    waited_us = arrived_at_us - clerk.records[1].timestamp_us
    assert 1_000_000 <= waited_us < 10_000_000


@pytest.mark.parametrize("by", ["records", "bytes"])
async def test_what_is_not_released_is_bounded(kafka: str, topic_prefix: str, by: str) -> None:
    """Reading pauses while too much is in flight, and goes on when it was released."""
    config, topics = await make_topics(kafka, topic_prefix)
    client, clerk = PlainClient(kafka), Clerk()
    client.write(topics.events, [(b"%d" % n, b"x" * 1000) for n in range(2000)])
    limits = Limits(
        batch_max_records=50,
        in_flight_max_records=200 if by == "records" else 1_000_000,
        in_flight_max_bytes=200_000 if by == "bytes" else 64 * 1024 * 1024,
    )
    released = 0
    async with consume(config, clerk, topic_prefix, topics.events, limits=limits) as consumer:
        while released < 2000:
            await eventually(lambda released=released: len(clerk.records) >= min(2000, released + 200))  # type: ignore[misc]  # bound for this turn
            # no more comes, although there is more, and the consumer keeps its place in the group
            assert len(clerk.records) <= released + 200 + 50
            assert consumer.check() is None
            taken = clerk.records[released:]
            for record in taken:
                consumer.release(record)
            released += len(taken)

    assert 2000 == len({(record.partition, record.offset) for record in clerk.records}) == len(clerk.records)


async def test_a_handlers_failure_ends_the_consumer(kafka: str, topic_prefix: str) -> None:
    """The process hears of it, and the thread does not linger."""
    config, topics = await make_topics(kafka, topic_prefix)
    clerk = Clerk()
    clerk.error = RuntimeError("no owner")
    consumer = LogConsumer(config, group=f"{topic_prefix}group", topics=[topics.events], limits=LIMITS)
    consumer.start(clerk.handler())
    async with asyncio.timeout(30):
        with pytest.raises(Exception, match="no owner"):
            await consumer.failure()
    await consumer.close()

    assert "the consumer has ended" == consumer.check()


async def test_a_commit_for_somebody_elses_partition_is_dropped(kafka: str, topic_prefix: str) -> None:
    """Such a commit would set the group back."""
    config, topics = await make_topics(kafka, topic_prefix)
    clerk = Clerk()
    clerk.leaves = {(topics.events.name, 0): Committed(3)}
    async with consume(config, clerk, topic_prefix, topics.events) as consumer:
        await eventually(lambda: len(clerk.held) == 2)
        consumer.commit({(topics.deliveries.name, 0): Committed(7)})
        consumer.commit({(topics.events.name, 1): Committed(1)})
        await eventually(lambda: read_committed(config, topic_prefix, topics.events)[1][0] == 1)

    assert {0: -1001, 1: -1001} == {
        partition: offset for partition, (offset, _) in read_committed(config, topic_prefix, topics.deliveries).items()
    }


async def test_what_became_of_a_commit_is_told(kafka: str, topic_prefix: str) -> None:
    """A commit without a waiting caller reports, too: a group that cannot commit must be noticed before it restarts."""
    config, topics = await make_topics(kafka, topic_prefix)
    clerk, place = Clerk(), (topics.events.name, 0)
    clerk.leaves = {place: Committed(3)}
    async with consume(config, clerk, topic_prefix, topics.events) as consumer:
        await eventually(lambda: len(clerk.held) == 2)
        consumer.commit({place: Committed(1)})
        await eventually(lambda: clerk.results == ["ok"])
        consumer.commit({place: Committed(2, "x" * 5000)})  # Kafka keeps notes of 4,096 bytes
        await eventually(lambda: len(clerk.results) == 2)
    await eventually(lambda: len(clerk.results) == 3)

    assert ["ok", "failed", "ok"] == clerk.results
    assert (3, "") == read_committed(config, topic_prefix, topics.events)[0]


async def test_a_gap_is_a_loss_only_below_where_the_log_begins(kafka: str, topic_prefix: str) -> None:
    """The end of a transaction takes an offset, too, and nothing is lost with it."""
    config, topics = await make_topics(kafka, topic_prefix)
    client, clerk, place = PlainClient(kafka), Clerk(), (topics.events.name, 0)
    client.write(topics.events, [(b"k", b"%d" % n) for n in range(10)], partition=0)
    admin = AdminClient({"bootstrap.servers": kafka}, logger=None)
    admin.delete_records([TopicPartition(*place, 4)])[TopicPartition(*place)].result(60)
    async with consume(config, clerk, topic_prefix, topics.events) as consumer:
        await eventually(lambda: len(clerk.records) == 6)
        consumer.explain(place, 6, 8)
        consumer.explain(place, 1, 2)
        consumer.explain(place, 2, 6)
        await eventually(lambda: bool(clerk.deleted))

    assert {place: 1 + 2} == clerk.deleted


async def test_what_was_put_away_does_not_hold_up_what_is_new(kafka: str, topic_prefix: str) -> None:
    """Thousands that come back at once, to a slow handler, and one new record: a few pieces are before it.

    Those that are handled while Kafka hands it over (3 on a quiet machine, of 250); the bound leaves it 3 s for that.
    """
    config, topics = await make_topics(kafka, topic_prefix, partitions=1)
    back = replace(topics.retries[0], delay_s=0)
    client = PlainClient(kafka)
    client.write(back, [(b"k", b"back")] * 5000)

    class Busy(Clerk):
        new_at: int | None = None

        def received(self, records: Sequence[LogRecord]) -> None:
            if not self.records:
                client.write(topics.deliveries, [(b"k", b"new")])
            super().received(records)
            if self.new_at is None and b"new" in self.values()[-len(records) :]:
                self.new_at = self.values().index(b"new")
            if self.new_at is None:
                time.sleep(0.1)  # stands for work: this thread does not look at the next batch meanwhile

    clerk = Busy()
    async with consume(config, clerk, topic_prefix, topics.deliveries, companions=[back]):
        await eventually(lambda: 5001 == len(clerk.records))

    assert clerk.new_at is not None
    assert clerk.new_at <= 30 * RETRIES_AT_ONCE


async def test_what_was_put_away_comes_back_in_pieces(kafka: str, topic_prefix: str) -> None:
    """Retries come in order, and between pieces the loop gets to do everything else."""
    config, topics = await make_topics(kafka, topic_prefix, partitions=1)
    back = replace(topics.retries[0], delay_s=0)
    PlainClient(kafka).write(back, [(b"k", b"%d" % number) for number in range(1000)])
    loop = asyncio.get_running_loop()

    class Watchful(Clerk):
        def __init__(self) -> None:
            super().__init__()
            self.pieces: list[int] = []
            self.turns = 0  # of the loop, between the pieces

        def received(self, records: Sequence[LogRecord]) -> None:
            assert self.turns == len(self.pieces)
            super().received(records)
            self.pieces.append(len(records))
            loop.call_soon(self.take_turn)

        def take_turn(self) -> None:
            self.turns += 1

    clerk = Watchful()
    async with consume(config, clerk, topic_prefix, topics.deliveries, companions=[back]):
        await eventually(lambda: len(clerk.records) == 1000)

    assert max(clerk.pieces) == RETRIES_AT_ONCE
    assert [b"%d" % number for number in range(1000)] == clerk.values()


async def test_pieces_that_were_read_before_a_rebalance_are_handled_before_it(kafka: str, topic_prefix: str) -> None:
    config, topics = await make_topics(kafka, topic_prefix, partitions=1)
    back = replace(topics.retries[0], delay_s=0)
    PlainClient(kafka).write(back, [(b"k", b"back")] * 500)
    closing = asyncio.Event()

    class Slow(Clerk):
        late = 0

        def received(self, records: Sequence[LogRecord]) -> None:
            super().received(records)
            self.late += len(records) if self.gone else 0
            closing.set()
            time.sleep(0.05)  # meanwhile the partitions are to be handed back

    clerk = Slow()
    async with consume(config, clerk, topic_prefix, topics.deliveries, companions=[back]):
        await closing.wait()

    assert clerk.gone
    assert len(clerk.records) > RETRIES_AT_ONCE
    assert clerk.late == 0
