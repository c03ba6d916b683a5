"""The consume loop of every sink, with a sink that does what it is told, on a real broker."""

import asyncio
import functools
import time
from collections import Counter
from collections.abc import AsyncIterator, Hashable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from prometheus_client import generate_latest

from connectors.runtime.runtime import Runtime
from connectors.sink import Incoming, IsSettled, LogRecord, Place
from pipeline.config import KafkaConfig, WorkerConfig
from pipeline.core.lanes.fixed_gate import FixedGate
from pipeline.core.lanes.lane import Jam, Rank
from pipeline.core.log.commit_note import CommitNote, parse_note
from pipeline.kafka.commit_metadata import split_note
from pipeline.kafka.producer import Placement
from pipeline.metrics import Metrics
from pipeline.topics import Topic, Topics
from tests.integration.kafka.logs import DAY_S, PlainClient, make_topics
from tests.support.eventually import eventually

DONE = Placement(0, 0)


@dataclass
class ScriptedSink:
    """A lane a key. Values say what `put` does: `hang…` never ends, `fail…` raises, `late…` settles when told."""

    at_once: int = 1  # in one lane
    starts: dict[Place, int] = field(default_factory=dict)
    put_values: list[bytes] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    done_values: list[bytes] = field(default_factory=list)
    notes: dict[Place, CommitNote | None] = field(default_factory=dict)
    open: Counter[Hashable] = field(default_factory=Counter)
    open_max: Counter[Hashable] = field(default_factory=Counter)
    gates: dict[Hashable, FixedGate] = field(default_factory=dict)
    late: list["asyncio.Future[Placement]"] = field(default_factory=list)
    due: dict[bytes, int] = field(default_factory=dict)
    parked: frozenset[bytes] = frozenset()

    def classify(self, record: LogRecord) -> Incoming:
        rank = Rank.PARKED if record.value in self.parked else Rank.FRESH
        return Incoming(record, record.key, rank, self.due.get(record.value or b"", 0))

    def gate(self, lane: Hashable) -> FixedGate:
        return self.gates.setdefault(lane, FixedGate(self.at_once))

    async def put(self, works: Sequence[LogRecord]) -> "asyncio.Future[Any] | None":
        lane = works[0].key
        self.open[lane] += 1
        self.open_max[lane] = max(self.open_max[lane], self.open[lane])
        self.batches.append(len(works))
        self.put_values += [record.value or b"" for record in works]
        try:
            value = works[0].value or b""
            if value.startswith(b"hang"):
                await asyncio.Event().wait()
            if value.startswith(b"fail"):
                raise RuntimeError("a mistake of ours")
            if value.startswith(b"late"):
                future: asyncio.Future[Placement] = asyncio.get_running_loop().create_future()
                self.late.append(future)
                return future
            await asyncio.sleep(0)
            self.done_values.append(value)
            return None
        finally:
            self.open[lane] -= 1

    async def assigned(self, notes: Mapping[Place, CommitNote | None]) -> Mapping[Place, int]:
        self.notes |= notes
        return {place: start for place, start in self.starts.items() if place in notes}

    async def revoked(self, places: Sequence[Place]) -> None:
        pass


@dataclass
class ScriptedParking:
    """Records what it is given, and settles it at once. Each lane is of its own application."""

    values: list[bytes] = field(default_factory=list)

    def owner(self, lane: Hashable) -> Hashable:
        return lane

    def park(self, incoming: Incoming, jam: Jam, now_us: int) -> "asyncio.Future[Any]":
        self.values.append(incoming.work.value or b"")
        future: asyncio.Future[Placement] = asyncio.get_running_loop().create_future()
        future.set_result(DONE)
        return future

    def came_back(self, incoming: Incoming) -> None:
        pass


@dataclass
class CountedBookmark:
    """Stands for the attempts topic: an attempt for each record that a sink was done with."""

    sink: ScriptedSink

    def attempts_seen(self, place: Place, is_settled: IsSettled) -> int | None:
        return None if "retries" in place[0] else len(self.sink.done_values)


class RuntimeOnKafka:
    """Topics, a client, and where the group is."""

    def __init__(self, kafka: str, topic_prefix: str, config: KafkaConfig, topics: Topics) -> None:
        self.config, self.topics, self.group = config, topics, f"{topic_prefix}group"
        self.client = PlainClient(kafka)
        self.metrics = Metrics("test")

    @asynccontextmanager
    async def run(
        self,
        sink: ScriptedSink,
        *,
        parking: ScriptedParking | None = None,
        bookmark: CountedBookmark | None = None,
        open_max: int = 100,
        batch_max: int = 1,
        companions: Sequence[Topic] = (),
        **settings: float,
    ) -> AsyncIterator["asyncio.Task[None]"]:
        """The runtime, until the end of the block; what went wrong comes out there."""
        stopping = asyncio.Event()
        runtime = self.runtime = Runtime(
            sink,
            parking=parking,
            bookmark=bookmark,
            kafka=self.config,
            config=WorkerConfig.model_validate(
                {"commit_interval_s": 0.1, "shutdown_grace_s": 0.5, "rebalance_grace_s": 0.5, **settings}
            ),
            metrics=self.metrics,
            group=self.group,
            lead=[self.topics.events],
            companions=companions,
            open_max=open_max,
            batch_max=batch_max,
        )
        running = asyncio.create_task(runtime.run(stopping))
        await asyncio.wait([running, asyncio.create_task(runtime.is_assigned.wait())], return_when="FIRST_COMPLETED")
        try:
            yield running
        finally:
            stopping.set()
            try:
                await running
            except RuntimeError:
                # a process ends with it; a test goes on, and must not leave a thread behind
                await runtime._consumer.close()  # noqa: SLF001 - no public method closes it early
                raise

    def write(self, key: bytes, *values: bytes, partition: int = 0) -> None:
        self.client.write(self.topics.events, [(key, value) for value in values], partition=partition)

    def committed(self, partition: int = 0, topic: Topic | None = None) -> tuple[int, CommitNote]:
        """Offset and note. `topic`: None: the events."""
        consumer = Consumer({"bootstrap.servers": self.config.bootstrap_servers, "group.id": self.group}, logger=None)
        try:
            place = TopicPartition((topic or self.topics.events).name, partition)
            (part,) = consumer.committed([place], timeout=60)
            return part.offset, parse_note(part.offset, split_note(part.metadata)[1])
        finally:
            consumer.close()

    async def commit_again(self) -> None:
        """Wait until two more commits have come back: the second was described afterwards."""
        count = functools.partial(self.metrics.registry.get_sample_value, "hookline_commits_total", {"result": "ok"})
        before = count() or 0
        await eventually(lambda: (count() or 0) >= before + 2)


async def make_runtime(kafka: str, topic_prefix: str, *, partitions: int = 1) -> RuntimeOnKafka:
    config, topics = await make_topics(kafka, topic_prefix, partitions=partitions)
    return RuntimeOnKafka(kafka, topic_prefix, config, topics)


def numbered(name: bytes, count: int) -> list[bytes]:
    return [name + b" %d" % number for number in range(count)]


async def test_lanes_keep_their_order_and_their_limits(kafka: str, topic_prefix: str) -> None:
    """Each record is put once, those of one key one after the other, and the commit covers all of them."""
    on_kafka, sink = await make_runtime(kafka, topic_prefix, partitions=2), ScriptedSink()
    keys = [b"k%d" % number for number in range(10)]
    for key in keys:
        on_kafka.write(key, *numbered(key, 50), partition=key[1] % 2)
    async with on_kafka.run(sink):
        await eventually(lambda: len(sink.put_values) == 500)
        await eventually(lambda: [on_kafka.committed(partition)[0] for partition in (0, 1)] == [250, 250])

    for key in keys:
        assert numbered(key, 50) == [value for value in sink.put_values if value.startswith(key + b" ")]
    assert {1} == set(sink.open_max.values())


async def test_several_of_a_lane_at_once_up_to_its_gate(kafka: str, topic_prefix: str) -> None:
    """The process as a whole never has more open than it may."""
    on_kafka, sink = await make_runtime(kafka, topic_prefix), ScriptedSink(at_once=3)
    for key in (b"a", b"b"):
        on_kafka.write(key, *numbered(b"hang", 10))
    async with on_kafka.run(sink, open_max=5):
        await eventually(lambda: sum(sink.open.values()) == 5)
        assert sorted(sink.open.values()) == [2, 3]


async def test_a_record_that_hangs_holds_nobody_and_is_the_only_one_repeated(kafka: str, topic_prefix: str) -> None:
    """The watermark stands before it; what is done beyond it is in the note, so that the next process skips it."""
    on_kafka, sink = await make_runtime(kafka, topic_prefix), ScriptedSink()
    on_kafka.write(b"a", b"first", b"hangs", b"behind it")
    on_kafka.write(b"b", *numbered(b"b", 200))
    async with on_kafka.run(sink):
        await eventually(lambda: len(sink.put_values) == 202)
        await eventually(lambda: on_kafka.committed() == (1, CommitNote(done=((3, 203),))))
    again = ScriptedSink()
    on_kafka.write(b"b", b"news")
    async with on_kafka.run(again):
        await eventually(lambda: b"news" in again.put_values)

    assert CommitNote(done=((3, 203),)) == again.notes[on_kafka.topics.events.name, 0]
    assert {b"hangs", b"news"} == set(again.put_values)


async def test_what_is_settled_later_is_committed_then(kafka: str, topic_prefix: str) -> None:
    """The commit waits for the future, and so does the place in the lane: no more is under way than may be."""
    on_kafka, sink = await make_runtime(kafka, topic_prefix), ScriptedSink(at_once=2)
    on_kafka.write(b"a", b"late 1", b"late 2", b"quick")
    on_kafka.write(b"b", b"other")
    async with on_kafka.run(sink):
        await eventually(lambda: set(sink.put_values) == {b"late 1", b"late 2", b"other"})
        sink.late[1].set_result(DONE)
        await eventually(lambda: b"quick" in sink.put_values)
        await eventually(lambda: on_kafka.committed() == (0, CommitNote(done=((1, 4),))))
        sink.late[0].set_result(DONE)
        await eventually(lambda: on_kafka.committed() == (4, CommitNote()))


@pytest.mark.parametrize("how", ["put", "settling"])
async def test_a_failure_ends_the_process_uncommitted(kafka: str, topic_prefix: str, how: str) -> None:
    """A failure of any kind is not passed over: it comes out of `run`, and the record is read again."""
    on_kafka, sink = await make_runtime(kafka, topic_prefix), ScriptedSink()
    on_kafka.write(b"a", b"fine", b"fail" if how == "put" else b"late")

    async def run() -> None:
        async with on_kafka.run(sink) as running:
            await eventually(lambda: len(sink.put_values) == 2)
            if how == "settling":
                sink.late[0].set_exception(RuntimeError("a mistake of ours"))
            await asyncio.wait([running], timeout=60)

    with pytest.raises(RuntimeError, match="a mistake of ours"):
        await run()

    assert on_kafka.committed()[0] in (-1001, 0, 1)


async def test_batches_are_as_large_as_there_is_work(kafka: str, topic_prefix: str) -> None:
    """One lane, several records in one call, in order, up to the most that may be."""
    on_kafka, sink = await make_runtime(kafka, topic_prefix), ScriptedSink()
    on_kafka.write(b"a", *numbered(b"a", 1000))
    async with on_kafka.run(sink, batch_max=300, batch_size=1000):
        await eventually(lambda: len(sink.put_values) == 1000)
        await eventually(lambda: on_kafka.committed()[0] == 1000)

    assert numbered(b"a", 1000) == sink.put_values
    assert max(sink.batches) == 300


async def test_a_sink_that_knows_better_begins_elsewhere(kafka: str, topic_prefix: str) -> None:
    """Where its target says, whatever was committed; what was before is neither put nor missed."""
    on_kafka = await make_runtime(kafka, topic_prefix)
    sink = ScriptedSink(starts={(on_kafka.topics.events.name, 0): 7})
    on_kafka.write(b"a", *numbered(b"a", 10))
    async with on_kafka.run(sink):
        await eventually(lambda: len(sink.put_values) == 3)
        await eventually(lambda: on_kafka.committed()[0] == 10)

    assert numbered(b"a", 10)[7:] == sink.put_values
    assert None is on_kafka.metrics.registry.get_sample_value("hookline_records_missing_total")


async def test_what_was_parked_goes_at_a_pace(kafka: str, topic_prefix: str) -> None:
    """New records do not wait behind parked ones, even with room for all at once; in the end all of them are put."""
    on_kafka = await make_runtime(kafka, topic_prefix)
    parked = numbered(b"p", 150)
    sink = ScriptedSink(at_once=1000, parked=frozenset(parked))
    on_kafka.write(b"a", *parked)
    on_kafka.write(b"b", b"new")
    async with on_kafka.run(sink, open_max=1000):
        await eventually(lambda: len(sink.put_values) == 151)

    assert sink.put_values.index(b"new") < 150
    assert parked == [value for value in sink.put_values if value != b"new"]


async def test_a_record_for_later_is_parked_or_held(kafka: str, topic_prefix: str) -> None:
    """Due in an hour: elsewhere. Due in a moment: here, not before its time, holding up no other delivery."""
    on_kafka, sink, parking = await make_runtime(kafka, topic_prefix), ScriptedSink(), ScriptedParking()
    now_us = time.time_ns() // 1000
    sink.due = {b"in an hour": now_us + 3_600_000_000}
    on_kafka.write(b"a", b"in an hour", b"in a moment", b"now")
    put_at_us = 0

    def is_put() -> bool:
        nonlocal put_at_us
        put_at_us = time.time_ns() // 1000
        return b"in a moment" in sink.put_values

    sink.due[b"in a moment"] = due_at_us = time.time_ns() // 1000 + 900_000
    async with on_kafka.run(sink, parking=parking):
        await eventually(lambda: b"now" in sink.put_values)
        await eventually(is_put)
        await eventually(lambda: on_kafka.committed()[0] == 3)

    assert [b"in an hour"] == parking.values
    assert due_at_us <= put_at_us


async def test_the_end_of_a_transaction_is_read(kafka: str, topic_prefix: str) -> None:
    """A transaction's end takes an offset and is no record: the commit moves behind it, and no lag is left."""
    on_kafka, sink = await make_runtime(kafka, topic_prefix), ScriptedSink()
    topic = on_kafka.topics.events.name
    producer = Producer({"bootstrap.servers": kafka, "transactional.id": f"{topic_prefix}test"})
    await asyncio.to_thread(producer.init_transactions, 30)
    async with on_kafka.run(sink):
        for outcome in (producer.commit_transaction, producer.abort_transaction):
            producer.begin_transaction()
            producer.produce(topic, key=b"a", value=b"in one", partition=0)
            await asyncio.to_thread(producer.flush, 30)
            await asyncio.to_thread(outcome, 30)
        await eventually(lambda: on_kafka.committed()[0] == 4)
        lag = f'hookline_lag_records{{partition="0",topic="{topic}"}} 0.0'
        await eventually(lambda: lag in generate_latest(on_kafka.metrics.registry).decode())

    assert [b"in one"] == sink.put_values


async def test_what_does_not_change_is_committed_again(kafka: str, topic_prefix: str) -> None:
    """Kafka forgets commits of topics that no member of the group subscribes to."""
    on_kafka, sink = await make_runtime(kafka, topic_prefix), ScriptedSink()
    on_kafka.write(b"a", b"1")
    async with on_kafka.run(sink, commit_all_interval_s=0.5):
        await eventually(lambda: on_kafka.committed()[0] == 1)
        before = count_commits(on_kafka)
        await eventually(lambda: count_commits(on_kafka) >= before + 3)


def count_commits(on_kafka: RuntimeOnKafka) -> int:
    lines = generate_latest(on_kafka.metrics.registry).decode().splitlines()
    return sum(int(float(line.split()[-1])) for line in lines if line.startswith('hookline_commits_total{result="ok"}'))


async def test_retention_that_was_too_short_is_told(kafka: str, topic_prefix: str) -> None:
    """Records that were gone before they were read are counted: never silently."""
    on_kafka, sink = await make_runtime(kafka, topic_prefix), ScriptedSink()
    on_kafka.write(b"a", *numbered(b"a", 10))
    async with on_kafka.run(sink):
        await eventually(lambda: on_kafka.committed()[0] == 10)
    on_kafka.write(b"a", *numbered(b"b", 10))
    delete_until(on_kafka, 15)
    expected = f'hookline_records_missing_total{{topic="{on_kafka.topics.events.name}"}} 5.0'
    async with on_kafka.run(sink):
        await eventually(lambda: on_kafka.committed()[0] == 20)
        await eventually(lambda: expected in generate_latest(on_kafka.metrics.registry).decode())

    assert numbered(b"b", 10)[5:] == sink.put_values[10:]


def delete_until(on_kafka: RuntimeOnKafka, offset: int) -> None:
    """Delete records like retention."""
    admin = AdminClient({"bootstrap.servers": on_kafka.config.bootstrap_servers}, logger=None)
    place = TopicPartition(on_kafka.topics.events.name, 0, offset)
    for future in admin.delete_records([place]).values():
        future.result(60)


async def test_work_moves_with_its_partition(kafka: str, topic_prefix: str) -> None:
    """Two share the work, one leaves: every record is put, and only what was open when it left is put twice."""
    on_kafka = await make_runtime(kafka, topic_prefix, partitions=4)
    first, second = ScriptedSink(), ScriptedSink()
    keys = {partition: b"k%d" % partition for partition in range(4)}
    for partition, key in keys.items():
        on_kafka.write(key, *numbered(key, 200), partition=partition)
    async with on_kafka.run(first):
        async with on_kafka.run(second):
            await eventually(lambda: len(second.notes) == 2)
            for partition, key in keys.items():
                on_kafka.write(key, *numbered(b"more " + key, 200), partition=partition)
            await eventually(lambda: len(first.put_values) + len(second.put_values) >= 1600)
        for partition, key in keys.items():
            on_kafka.write(key, b"last " + key, partition=partition)
        await eventually(lambda: len([value for value in first.put_values if value.startswith(b"last")]) == 4)

    counts = Counter([*first.put_values, *second.put_values])
    assert 1604 == len(counts)
    assert sum(counts.values()) - 1604 <= 4


async def test_lag_is_what_waits(kafka: str, topic_prefix: str) -> None:
    """Measured by partition, and how near it is to be dropped by retention."""
    on_kafka, sink = await make_runtime(kafka, topic_prefix), ScriptedSink()
    on_kafka.write(b"a", *numbered(b"hang", 10))

    def read(name: str) -> str:
        (line,) = [
            line for line in generate_latest(on_kafka.metrics.registry).decode().splitlines() if line.startswith(name)
        ]
        return line.split()[-1]

    async with on_kafka.run(sink):
        await eventually(lambda: read("hookline_runnable_lag_records ") == "9.0")
        await eventually(lambda: read("hookline_lag_records{") == "10.0")
        await eventually(lambda: 2 < float(read("hookline_lag_seconds{")) < 60)
        await eventually(lambda: 2 / DAY_S < float(read("hookline_retention_used_ratio{")) < 60 / DAY_S)
        await eventually(lambda: read("hookline_in_flight ") == "10.0")


async def test_what_is_settled_is_young_again(kafka: str, topic_prefix: str) -> None:
    """An old record that is done with is no reason for an alarm."""
    on_kafka, sink = await make_runtime(kafka, topic_prefix), ScriptedSink()
    on_kafka.write(b"a", *numbered(b"late", 1))
    name = "hookline_retention_used_ratio{"

    def find() -> list[float]:
        lines = generate_latest(on_kafka.metrics.registry).decode().splitlines()
        return [float(line.split()[-1]) for line in lines if line.startswith(name)]

    async with on_kafka.run(sink):
        await eventually(lambda: bool(find()) and find()[0] > 1 / DAY_S)
        sink.late.pop().set_result(DONE)
        await eventually(lambda: find() == [0.0])

    assert [] == find(), "what is no longer ours is no longer told"


async def test_a_commit_that_failed_is_made_again(kafka: str, topic_prefix: str) -> None:
    """The commit is repeated even when nothing more is settled: a restart would repeat records after a mere hiccup."""
    on_kafka, sink = await make_runtime(kafka, topic_prefix), ScriptedSink()
    on_kafka.write(b"a", b"1")

    def count(result: str) -> float:
        return on_kafka.metrics.registry.get_sample_value("hookline_commits_total", {"result": result}) or 0.0

    async with on_kafka.run(sink):
        await eventually(lambda: on_kafka.committed()[0] == 1)
        for _ in range(2):  # the first may be an answer that was on its way
            before = count("ok")
            on_kafka.runtime.commits.ended("failed")
            await eventually(lambda: count("ok") > before)  # noqa: B023 - called within the turn

    assert 2.0 == count("failed")


async def test_work_that_stands_still_is_said(kafka: str, topic_prefix: str) -> None:
    """Every place is taken, and work waits that could be done: unhealthy after a while, and well again at a start."""
    on_kafka, sink = await make_runtime(kafka, topic_prefix), ScriptedSink()
    for key in (b"a", b"b", b"c"):
        on_kafka.write(key, b"late " + key)
    async with on_kafka.run(sink, open_max=2, stalled_after_s=0.5):
        problem = await eventually(on_kafka.runtime.check_movement) or ""
        assert "work could be started and none was" in problem
        stalled = on_kafka.metrics.stalled_seconds.labels("places")
        await eventually(lambda: stalled._value.get() > 0)  # noqa: SLF001 - the client has no other way
        for future in sink.late:
            future.set_result(DONE)
        await eventually(lambda: len(sink.put_values) == 3)
        await eventually(lambda: on_kafka.runtime.check_movement() is None)


async def test_reading_that_stands_still_is_said(kafka: str, topic_prefix: str) -> None:
    """A sink that holds back nothing stops reading at the bound: unhealthy after a while, and well again afterwards."""
    on_kafka, sink = await make_runtime(kafka, topic_prefix), ScriptedSink(at_once=100)
    on_kafka.write(b"a", *numbered(b"late", 10))
    async with on_kafka.run(sink, in_flight_max=5, batch_size=5, stalled_after_s=0.5):
        problem = await eventually(on_kafka.runtime.check_movement) or ""
        assert "too much is in flight" in problem
        assert len(sink.put_values) < 10

        def settle_all() -> bool:
            for future in sink.late:
                if not future.done():
                    future.set_result(DONE)
            return len(sink.put_values) == 10

        await eventually(settle_all)
        await eventually(lambda: on_kafka.runtime.check_movement() is None)


async def test_an_application_that_comes_while_reading_has_stopped_is_found(kafka: str, topic_prefix: str) -> None:
    """One that is alone may fill the process; another one behind it in the log does not wait for it."""
    on_kafka, sink, parking = await make_runtime(kafka, topic_prefix), ScriptedSink(), ScriptedParking()
    on_kafka.write(b"a", *numbered(b"hang", 200))
    # many batches: reading stops anew for each time that so many are taken, and the client takes half a second to go on
    async with on_kafka.run(sink, parking=parking, open_max=4, in_flight_max=100, batch_size=5):
        await eventually(lambda: sink.put_values == [b"hang 0"])
        on_kafka.write(b"b", b"quick")
        await eventually(lambda: b"quick" in sink.put_values)

    assert set(parking.values) < set(numbered(b"hang", 200))


async def test_what_does_not_fit_into_a_note_is_found_in_the_attempts(kafka: str, topic_prefix: str) -> None:
    """Thousands of retries of a tier are completed between as many that are not: the note holds some of them.

    Of the others the attempts tell, from the place that the commit of the leading topic names.
    """
    on_kafka = await make_runtime(kafka, topic_prefix)
    tier = on_kafka.topics.retries[0]
    sink = ScriptedSink(at_once=10_000)
    values = [b"late" if number % 2 else b"%d" % number for number in range(4000)]
    on_kafka.client.write(tier, [(b"k", value) for value in values], partition=0)
    async with on_kafka.run(
        sink,
        bookmark=CountedBookmark(sink),
        open_max=10_000,
        companions=[tier],
        in_flight_max=10_000,
        commit_all_interval_s=0.1,
    ):
        await eventually(lambda: len(sink.put_values) == 4000)

        await eventually(lambda: on_kafka.committed(topic=tier)[0] == 1)
        await on_kafka.commit_again()
        (offset, note), (_, leading) = on_kafka.committed(topic=tier), on_kafka.committed()
    named = {each for first, end in note.done for each in range(first, end)} | set(range(offset))
    begin = leading.attempts_offset or 0
    told = {int(value) for value in sink.done_values[begin:]}

    assert set(range(0, 4000, 2)) <= named | told
