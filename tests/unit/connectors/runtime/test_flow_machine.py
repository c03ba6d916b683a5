"""Records come, partitions go, calls end in any way and order: nothing is lost, counted twice or left open."""

import asyncio
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.runtime.flow import Flow
from connectors.runtime.partition import Partition
from connectors.sink import Incoming, LogRecord, Place
from pipeline.clock import monotonic_us, wall_us
from pipeline.core.lanes.budget import Budget
from pipeline.core.lanes.gate import EndpointGate, GatePolicy
from pipeline.core.lanes.lane import Jam, Rank
from pipeline.core.log.commit_note import CommitNote
from pipeline.core.log.watermark import Watermark

POLICY = GatePolicy(concurrency=2, concurrency_max=4, waiting_max=3, window=3, window_failures=2, open_first_us=500)
KINDS = st.sampled_from(["now", "now", "now", "soon", "later", "back"])
READS = st.tuples(st.just("read"), st.integers(0, 2), st.lists(st.tuples(st.integers(0, 3), KINDS), max_size=8))
GOES = st.tuples(st.sampled_from(["revoke", "lose"]), st.integers(0, 2), st.booleans())
ENDS = st.tuples(st.sampled_from(["succeed", "fail", "return"]), st.integers(0, 9), st.none())
WRITES = st.tuples(st.sampled_from(["written", "unwritten", "parked"]), st.integers(0, 9), st.none())
OTHERS = st.tuples(st.sampled_from(["tick", "rotate", "turn", "turn"]), st.integers(0, 3), st.none())
STEPS = st.lists(st.one_of(READS, READS, GOES, ENDS, WRITES, OTHERS), min_size=8, max_size=50)


@dataclass(eq=False)
class Call:
    """A call of `put`. `outcome`: what it returns, once that is known."""

    works: list[LogRecord]
    outcome: "asyncio.Future[asyncio.Future[None] | None]"


class Machine:
    """A flow, its sink, and all that it was given. Satisfies `Sink` and `Parking`."""

    def __init__(self, *, open_max: int, batch_max: int, records_max: int) -> None:
        self.budget = Budget(records_max=records_max, bytes_max=1 << 20, places_max=open_max, batch_max=batch_max)
        self.gates = {b"%d" % number: EndpointGate(POLICY) for number in range(4)}
        self.calls: list[Call] = []
        self.writes: list[asyncio.Future[None]] = []  # of calls that have returned
        self.parking: list[asyncio.Future[None]] = []
        self.errors: list[BaseException] = []
        self.read: list[tuple[LogRecord, Partition]] = []
        self.released: Counter[bytes | None] = Counter()
        self.done: Counter[bytes | None] = Counter()  # those that were put or parked
        self.gone: set[Partition] = set()
        self.partitions = {number: Partition(("topic", number), Watermark(0)) for number in range(3)}
        self.flow = Flow(
            self,
            parking=self,
            budget=self.budget,
            open_max=open_max,
            batch_max=batch_max,
            parked_rate_min_per_s=10_000.0,
            release=self._release,
            fail=self.errors.append,
            clock_us=wall_us,
        )

    # The sink.

    def classify(self, record: LogRecord) -> Incoming:
        kind = (record.value or b"").split()[0]
        waits_us = {b"soon": 1_000, b"later": 5_000_000}.get(kind)
        due_at_us = record.timestamp_us + waits_us if waits_us else 0
        return Incoming(record, record.key, Rank.PARKED if kind == b"back" else Rank.FRESH, due_at_us)

    def gate(self, lane: Hashable) -> EndpointGate:
        assert isinstance(lane, bytes)
        return self.gates[lane]

    async def put(self, works: Sequence[LogRecord]) -> "asyncio.Future[None] | None":
        self._see(works)
        call = Call(list(works), asyncio.get_running_loop().create_future())
        self.calls.append(call)
        try:
            written = await call.outcome
            if written is None:
                self._note_done(works)
            else:
                written.add_done_callback(lambda done: None if done.cancelled() else self._note_done(works))
            return written
        finally:
            self.calls.remove(call)

    async def assigned(self, notes: Mapping[Place, CommitNote | None]) -> Mapping[Place, int]:
        return {}

    async def revoked(self, places: Sequence[Place]) -> None: ...

    def owner(self, lane: Hashable) -> Hashable:
        assert isinstance(lane, bytes)
        return int(lane) % 2

    def park(self, incoming: Incoming, jam: Jam, now_us: int) -> "asyncio.Future[Any]":
        self._see([incoming.work])
        self.done[incoming.work.value] += 1
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.parking.append(written)
        return written

    def came_back(self, incoming: Incoming) -> None: ...

    def _see(self, works: Sequence[LogRecord]) -> None:
        """Nothing is begun of a partition that has gone."""
        assert not {self.partition_of(record) for record in works} & self.gone

    def partition_of(self, record: LogRecord) -> Partition:
        return next(partition for each, partition in self.read if each is record)

    def _note_done(self, works: Sequence[LogRecord]) -> None:
        self.done.update(record.value for record in works)

    def _release(self, record: LogRecord) -> None:
        self.released[record.value] += 1

    # The steps.

    def take(self, number: int, records: list[tuple[int, str]]) -> None:
        now_us, partition = wall_us(), self.partitions[number]
        for lane, kind in records:
            value = f"{kind} {len(self.read)}".encode()
            record = LogRecord("topic", number, partition.mark.next_offset, b"%d" % lane, value, now_us)
            self.read.append((record, partition))
            partition.mark.take(record.offset)
            self.flow.admit(record, partition, now_us)
        self.flow.start()

    async def give_away(self, number: int, *, is_lost: bool, in_turn: bool) -> None:
        if in_turn:
            await asyncio.sleep(0)
        partition = self.partitions[number]
        self.partitions[number] = Partition(partition.place, Watermark(0))
        self.flow.drop([partition])
        if is_lost:
            self.flow.abort([partition])
        else:
            await self.flow.drain([partition], 0.0)
        self.gone.add(partition)

    def end_call(self, how: str, number: int) -> None:
        if not self.calls:
            return
        call, now_us = self.calls[number % len(self.calls)], monotonic_us()
        if call.outcome.done():
            return
        gate = self.gates[call.works[0].key or b""]
        if how == "fail":
            gate.fail(now_us, started_at_us=now_us, is_overload=True, is_fault=True)
        elif how == "succeed":
            gate.succeed(now_us, started_at_us=now_us)
        written: asyncio.Future[None] | None = None
        if how != "return":
            written = asyncio.get_running_loop().create_future()
            self.writes.append(written)
        call.outcome.set_result(written)

    def end_write(self, how: str, number: int) -> None:
        writes = self.parking if how == "parked" else self.writes
        if not writes:
            return
        written = writes.pop(number % len(writes))
        if how == "unwritten":
            written.cancel()
        else:
            written.set_result(None)

    async def do(self, step: tuple[str, int, Any]) -> None:
        match step:
            case "read", number, records:
                self.take(number, records)
            case "revoke" | "lose", number, in_turn:
                await self.give_away(number, is_lost=step[0] == "lose", in_turn=in_turn)
            case "written" | "unwritten" | "parked", number, _:
                self.end_write(step[0], number)
            case "tick", _, _:
                self.flow.tick(0.25, full_for_s=0.0)
            case "rotate", _, _:
                self.flow.rotate()
            case "turn", turns, _:
                for _ in range(turns + 1):
                    await asyncio.sleep(0)
            case how, number, _:
                self.end_call(how, number)

    async def finish(self) -> None:
        """Let everything end well."""
        async with asyncio.timeout(60):
            while len(self.released) < len(self.read) and not self.errors:
                for number in range(len(self.calls)):
                    self.end_call("succeed", number)
                for writes in (self.writes, self.parking):
                    while writes:
                        writes.pop().set_result(None)
                self.flow.tick(0.25, full_for_s=0.0)
                await asyncio.sleep(0.001)
        await asyncio.sleep(0)

    def verify(self) -> None:
        assert [] == self.errors
        assert {record.value: 1 for record, _ in self.read} == self.released
        for record, partition in self.read:
            if partition not in self.gone:
                assert partition.mark.is_settled(record.offset)
                assert self.done[record.value] == 1
            assert self.done[record.value] <= 1
        partitions = {partition for _, partition in self.read}
        assert {0} >= {partition.open for partition in partitions}
        assert {0} == {gate.open for gate in self.gates.values()}
        total = self.budget.total
        for held in (total.records, total.size_bytes, total.places):
            assert (0, 0, 0, 0) == (held.slow, held.unknown, held.proven, held.all)
        assert 0 == len(self.budget) == self.flow.waiting == len(self.flow)
        assert not self.flow.is_busy


@settings(deadline=None, max_examples=200)
@given(STEPS, st.integers(1, 5), st.integers(1, 3), st.sampled_from([4, 12, 1000]))
def test_each_record_ends_once(steps: list[tuple[str, int, Any]], open_max: int, batch: int, records_max: int) -> None:
    """A record is put or parked and then settled, once, or is left to the next owner of its partition."""

    async def run() -> None:
        machine = Machine(open_max=open_max, batch_max=batch, records_max=records_max)
        for step in steps:
            await machine.do(step)
        await machine.finish()
        machine.verify()

    asyncio.run(run())
