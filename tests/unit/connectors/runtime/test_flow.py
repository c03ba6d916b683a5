"""The way of a record from `admit` to settled, without Kafka."""

import asyncio
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from connectors.runtime.flow import Flow
from connectors.runtime.parker import PARK_AT_ONCE, NoParkingError
from connectors.runtime.partition import Partition
from connectors.sink import Incoming, LogRecord, Place
from pipeline.clock import monotonic_us
from pipeline.core.lanes.budget import Budget
from pipeline.core.lanes.fixed_gate import FixedGate
from pipeline.core.lanes.lane import Jam, Rank
from pipeline.core.log.commit_note import CommitNote
from pipeline.core.log.watermark import Watermark
from pipeline.core.units import SECOND_US
from tests.support.eventually import eventually

NOW_US = 1_795_500_460_000_000
WAITS_US = {b"late": 3_600_000_000, b"soon": 1_000}
PLACE = ("topic", 0)


@dataclass
class ScriptedSink:
    """Records due in an hour are those named `later…`, in a moment `soon…`; `hang…` is put for ever.

    The first `put` of `copy…` is settled by `shared`. Counts what it is asked.
    """

    classified: list[bytes] = field(default_factory=list)
    put_values: list[bytes] = field(default_factory=list)
    parked: list[bytes] = field(default_factory=list)
    came: list[bytes] = field(default_factory=list)
    shared: "asyncio.Future[None] | None" = None
    on_gate: FixedGate = field(default_factory=lambda: FixedGate(1000))

    def classify(self, record: LogRecord) -> Incoming:
        value = record.value or b""
        self.classified.append(value)
        rank = Rank.PARKED if value.startswith(b"back") else Rank.FRESH
        return Incoming(value, record.key, rank, NOW_US + WAITS_US[value[:4]] if value[:4] in WAITS_US else 0)

    def gate(self, lane: Hashable) -> FixedGate:
        return self.on_gate

    async def put(self, works: Sequence[bytes]) -> "asyncio.Future[Any] | None":
        self.put_values += works
        if works[0].startswith(b"hang"):
            await asyncio.Event().wait()
        if works[0].startswith(b"copy") and self.put_values.count(works[0]) == 1:
            self.shared = asyncio.get_running_loop().create_future()
            return self.shared
        return None

    async def assigned(self, notes: Mapping[Place, CommitNote | None]) -> Mapping[Place, int]:
        return {}

    async def revoked(self, places: Sequence[Place]) -> None: ...

    def owner(self, lane: Hashable) -> Hashable:
        return lane

    def park(self, incoming: Incoming, jam: Jam, now_us: int) -> "asyncio.Future[Any]":
        self.parked.append(incoming.work)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        future.set_result(None)
        return future

    def came_back(self, incoming: Incoming) -> None:
        self.came.append(incoming.work)


class OneFlow:
    """A flow of one partition, and what comes out of it."""

    def __init__(self, *, parks: bool = True, parked_rate_min_per_s: float = 1000.0) -> None:
        self.sink = ScriptedSink()
        self.partition = Partition(PLACE, Watermark(0))
        self.released: list[bytes | None] = []
        self.errors: list[BaseException] = []
        self.now_us = NOW_US
        self.flow = Flow(
            self.sink,
            parking=self.sink if parks else None,
            budget=Budget(records_max=10_000, bytes_max=1 << 24, places_max=100, batch_max=100),
            open_max=100,
            batch_max=1,
            parked_rate_min_per_s=parked_rate_min_per_s,
            release=lambda record: self.released.append(record.value),
            fail=self.errors.append,
            clock_us=lambda: self.now_us,
        )

    def read(self, *values: bytes, lane: bytes = b"lane") -> None:
        """These are the partition's next records."""
        for value in values:
            record = LogRecord("topic", 0, self.partition.mark.next_offset, lane, value, NOW_US)
            self.partition.mark.take(record.offset)
            self.flow.admit(record, self.partition, NOW_US)
        self.flow.start()


async def test_a_record_is_put_settled_and_released() -> None:
    """Each record is asked about once."""
    one = OneFlow()
    one.read(b"a", b"b")
    await eventually(lambda: one.released == [b"a", b"b"])

    assert 2 == one.partition.mark.committable
    assert [b"a", b"b"] == one.sink.classified == one.sink.put_values


async def test_records_to_be_parked_wait_for_those_behind_them() -> None:
    """Records to be parked are written after everything that was read has been looked at, and in pieces."""
    one = OneFlow()
    later = [b"later %d" % number for number in range(3 * PARK_AT_ONCE)]
    one.read(*later, b"now")

    assert [] == one.sink.parked
    await eventually(lambda: len(one.released) == len(later) + 1)
    assert later == one.sink.parked
    assert [b"now"] == one.sink.put_values
    assert len(later) + 1 == one.partition.mark.committable


async def test_a_record_that_came_back_is_said_once() -> None:
    """The call of `came_back` says it: the question itself changes nothing."""
    one = OneFlow()
    one.read(b"back", b"new")
    await eventually(lambda: len(one.released) == 2)

    assert [b"back"] == one.sink.came


async def test_a_sink_without_parking_is_told_what_it_lacks() -> None:
    """A record that is not due has nowhere to wait."""
    one = OneFlow(parks=False)
    with pytest.raises(NoParkingError, match="hand a `Parking` to the runtime"):
        one.read(b"later")


async def test_a_partition_that_goes_takes_its_records_along() -> None:
    """Records that wait to be parked are dropped, open ones are cancelled: neither is settled."""
    one = OneFlow()
    one.read(b"hang", b"later")
    await eventually(lambda: one.sink.put_values == [b"hang"])
    one.read(b"later 2")
    one.flow.stop()
    one.flow.drop([one.partition])
    await one.flow.drain([one.partition], grace_s=0.0)
    await eventually(lambda: one.partition.open == 0)

    assert 0 == one.partition.mark.committable
    assert b"later 2" not in one.sink.parked
    assert {b"hang", b"later", b"later 2"} == set(one.released)


async def test_what_has_not_begun_ends_with_its_partition() -> None:
    """A partition that is lost right after its records were read leaves none of them open, nor a place taken."""
    one = OneFlow()
    one.read(b"a")
    one.flow.drop([one.partition])
    one.flow.abort([one.partition])
    await eventually(lambda: one.partition.open == 0)

    assert [b"a"] == one.released
    assert [] == one.sink.put_values
    assert 0 == one.partition.mark.committable
    assert 1000 == one.sink.on_gate.room(monotonic_us())


async def test_a_partition_that_goes_starts_nothing_more() -> None:
    """A record that becomes due while its partition is drained is left to the next owner."""
    one = OneFlow()
    one.read(b"hang", b"soon")
    await eventually(lambda: one.sink.put_values == [b"hang"])
    one.flow.drop([one.partition])
    draining = asyncio.create_task(one.flow.drain([one.partition], grace_s=60.0))
    one.now_us += WAITS_US[b"soon"]
    await eventually(lambda: b"soon" in one.released)
    draining.cancel()

    assert [b"hang"] == one.sink.put_values
    assert 0 == one.flow.waiting


async def test_a_record_whose_copy_was_given_up_is_put_again() -> None:
    """A `put` may share the outcome of another one, whose partition goes: a record that stays must be settled here."""
    one = OneFlow()
    one.read(b"copy")
    await eventually(lambda: one.sink.shared is not None)
    assert one.sink.shared is not None
    one.sink.shared.cancel()
    await eventually(lambda: one.released == [b"copy"])

    assert [b"copy", b"copy"] == one.sink.put_values
    assert 1 == one.partition.mark.committable


async def test_parked_records_of_a_busy_lane_keep_those_of_others_no_longer() -> None:
    """A lane gives out parked records beside fresh ones, however many: the next lane with parked ones has its turn."""
    one = OneFlow(parked_rate_min_per_s=1.0)
    pace = one.flow.parked_pace
    assert 0 == pace.wait_us(monotonic_us())
    one.read(*[b"fresh" if number % 5 else b"back" for number in range(4_000)], lane=b"busy")
    await eventually(lambda: len(one.released) == 4_000)

    assert pace.wait_us(monotonic_us()) <= 1 + SECOND_US / pace.rate_per_s
    one.read(b"back", lane=b"quiet")
    await eventually(lambda: len(one.released) == 4_001)
    assert [] == one.errors


async def test_parked_records_that_stand_still_are_seen() -> None:
    """Records with nothing but parked work before them are work that could be started, once their pace lets them."""
    one = OneFlow()
    assert 0 == one.flow.parked_pace.wait_us(monotonic_us())
    assert 0 == one.flow.waits_for_s()
    for _ in range(1_000_000):  # a quarter of an hour
        one.flow.parked_pace.start()
    one.read(b"back")

    await eventually(lambda: one.flow.waits_for_s() > 0)
    assert [] == one.released
