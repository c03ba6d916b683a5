import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pytest
from faust.types import TP

from pipeline.core.events.event import Unreadable, parse_event
from pipeline.core.events.records import Dispatch, Event, RoutesChanged, from_bytes
from pipeline.kafka.producer import Placement
from pipeline.matcher.chunks import ChunkValue
from pipeline.matcher.intake import PORTION_RECORDS, Intake
from pipeline.matcher.matching import Matcher, ToWrite
from pipeline.matcher.outstanding import Outstanding
from pipeline.matcher.progress import Progress
from pipeline.matcher.read_ahead import TURN_RECORDS
from pipeline.metrics import Metrics
from pipeline.topics import declare_topics
from tests.support.eventually import eventually
from tests.unit.pipeline.matcher.records import APPLICATION, FixedRoutes, make_event, make_routes, store

TOPICS = declare_topics(prefix="t.", partitions=4, event_retention_s=3600)
TP3 = TP("t.events", 3)
OTHER = "0190f1a2-0000-7000-8000-000000000002"
MIB = 1024 * 1024


class Ledger:
    """A `Writer`: acknowledges at once, or as told."""

    def __init__(self) -> None:
        self.written: list[ToWrite] = []
        self.portions = 0
        self.error: Exception | None = None
        self.is_slow = False
        self.waiting: list[asyncio.Future[Placement]] = []
        self.begun = asyncio.Event()  # twenty events or more are dispatched

    def __len__(self) -> int:
        return len(self.waiting)

    async def wait_open(self) -> None:
        """Return at once: the log takes records."""

    async def send_patiently(self, records: Sequence[ToWrite]) -> "asyncio.Future[Placement]":
        if self.error is not None:
            raise self.error
        self.written += records
        self.portions += 1
        if len(self.dispatched()) >= 20:
            self.begun.set()
        future: asyncio.Future[Placement] = asyncio.get_running_loop().create_future()
        if self.is_slow:
            self.waiting.append(future)
        else:
            future.set_result(Placement(0, 0))
        return future

    def dispatched(self) -> list[int]:
        """Offsets of the events that were dispatched."""
        records = [from_bytes(value) for _, _, value, *_ in self.written]
        return [record.event_offset for record in records if isinstance(record, Dispatch)]


class Desk:
    """An `Intake` with all its parts real but the log."""

    def __init__(self, subscriptions: Iterable[str] = ("s",), *, ahead_max_records: int = 1000) -> None:
        self.ledger = Ledger()
        self.commits: list[dict[TP, int]] = []
        self.failure: Exception | None = None
        self.now_s = self.worked_s = 0.0
        self.costs_s = {APPLICATION: 0.0, OTHER: 0.0}
        self.pauses_s = {APPLICATION: 0.0, OTHER: 0.0}  # in which others have the processor
        metrics = Metrics("matcher")
        routes = FixedRoutes()
        for application_id in (APPLICATION, OTHER):
            routes.publish(make_routes({each: {} for each in subscriptions}, application_id=application_id))
        matcher = Matcher(
            TOPICS,
            routes,
            metrics,
            outstanding=Outstanding(bound_min=1_000_000),
            recent_ids_max=1000,
            record_max_bytes=1_000_000,
            payload_inline_max_bytes=1_000_000,
            routes_wait_s=1,
            clock_us=lambda: 0,
            parse=self._parse,
        )
        self.progress = Progress(self._commit, metrics, in_flight_max=100, commit_interval_s=60)
        self.intake = Intake(
            matcher,
            self.ledger,
            self.progress,
            metrics,
            ahead_max_records=ahead_max_records,
            ahead_max_bytes=MIB,
            clock_us=lambda: 0,
            clock=lambda: self.now_s,
            work_clock=lambda: self.worked_s,
        )
        self.matching = asyncio.create_task(self.intake.run())
        self.settling = asyncio.create_task(self.progress.settle_regularly())

    async def take(self, chunk: ChunkValue) -> None:
        """Take a chunk, and let all happen that can."""
        await self.intake.take(chunk)
        await self.settle()

    async def settle(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)

    def _parse(self, *arguments: Any, **options: Any) -> Event | RoutesChanged | Unreadable:
        if self.failure is not None:
            raise self.failure
        parsed = parse_event(*arguments, **options)
        if isinstance(parsed, Event):
            self.worked_s += self.costs_s[parsed.application_id]
            self.now_s += self.costs_s[parsed.application_id] + self.pauses_s[parsed.application_id]
        return parsed

    async def _commit(self, watermark: Mapping[TP, int]) -> bool:
        self.commits.append(dict(watermark))
        return True


async def test_costly_events_hold_up_no_other_application() -> None:
    """Events that take a tenth of a second each, by the filters of their application, are matched one in a turn."""
    desk = Desk()
    desk.costs_s = {APPLICATION: 0.1, OTHER: 0.0001}
    await desk.intake.take(make_chunk(*range(20)))
    await desk.intake.take(make_chunk(*range(20, 120), application_id=OTHER))
    await eventually(lambda: len(desk.ledger.dispatched()) == 120)
    dispatched = desk.ledger.dispatched()

    assert list(range(120)) == sorted(dispatched)
    assert list(range(20, 120)) == [offset for offset in dispatched[:102] if offset >= 20]


async def test_a_processor_that_others_have_costs_no_application_its_turns() -> None:
    """Two applications with as much go at the same pace, also when one of them meets all the pauses."""
    desk = Desk()
    desk.pauses_s = {APPLICATION: 0.1, OTHER: 0.0}
    for begin in range(0, 200, 2):
        await desk.intake.take(make_chunk(begin))
        await desk.intake.take(make_chunk(begin + 1, application_id=OTHER))
    await eventually(lambda: len(desk.ledger.dispatched()) == 200)

    ahead = 0
    for place, offset in enumerate(desk.ledger.dispatched(), 1):
        ahead += 1 if offset % 2 else -1
        assert abs(ahead) <= TURN_RECORDS, f"{ahead} after {place}"


def make_chunk(*offsets: int, size_bytes: int = 10, application_id: str = APPLICATION) -> ChunkValue:
    return ChunkValue(
        [
            store(make_event(offset + 1, payload=b"x" * size_bytes, application_id=application_id), offset)
            for offset in offsets
        ]
    )


async def test_chunks_are_written_and_committed_in_order() -> None:
    """Draining commits behind the last one."""
    desk = Desk()
    await desk.take(make_chunk(0, 1, 2))
    await desk.take(make_chunk(3))
    await desk.intake.drain()

    assert [0, 1, 2, 3] == desk.ledger.dispatched()
    assert [{TP3: 4}] == desk.commits


async def test_applications_take_turns() -> None:
    """One that sends much at once does not hold up another behind it; nothing is committed past what still waits."""
    desk = Desk()
    desk.ledger.is_slow = True
    await desk.intake.take(make_chunk(*range(500)))
    await desk.intake.take(make_chunk(500, 501, application_id=OTHER))
    await desk.settle()
    dispatched = desk.ledger.dispatched()
    assert {500, 501} <= set(dispatched[:100])
    assert sorted(dispatched) == list(range(502))  # none twice, none left out
    assert [offset for offset in dispatched if offset < 500] == list(range(500))  # each in its order
    desk.ledger.waiting[0].set_result(Placement(0, 0))
    await desk.settle()
    await desk.progress.commit_now()

    first = len([offset for offset in dispatched[:PORTION_RECORDS] if offset < 500])
    assert [{TP3: first}] == desk.commits


async def test_an_event_in_portions_is_committed_when_all_are_written() -> None:
    """Half of what an event leads to is not the event."""
    desk = Desk(f"s-{number}" for number in range(100))
    desk.ledger.is_slow = True
    await desk.take(make_chunk(0, size_bytes=100_000))
    assert desk.ledger.portions > 3
    for future in desk.ledger.waiting[:-1]:
        future.set_result(Placement(0, 0))
    await desk.settle()
    await desk.progress.commit_now()
    assert [] == desk.commits
    desk.ledger.waiting[-1].set_result(Placement(0, 0))
    await desk.intake.drain()

    assert [{TP3: 1}] == desk.commits


async def test_an_event_that_matches_much_is_a_portion_by_itself() -> None:
    """Else a few of them would hold up everything for as long as thousands of others."""
    desk = Desk(f"s-{number}" for number in range(300))
    await desk.take(make_chunk(0))
    before = desk.ledger.portions
    await desk.take(make_chunk(1, 2, 3, 4))

    assert 4 == desk.ledger.portions - before


async def test_reading_waits_while_much_is_ahead() -> None:
    """Memory is bounded: the next chunk is taken when some of this one is matched."""
    desk = Desk(ahead_max_records=500)
    taking = asyncio.create_task(desk.intake.take(make_chunk(*range(900))))
    await asyncio.sleep(0)
    assert not taking.done()
    await taking
    matched_then = len(desk.ledger.dispatched())
    await desk.settle()

    assert 400 < matched_then < 900
    assert 900 == len(desk.ledger.dispatched())


async def test_what_waits_is_left_for_the_next_owner() -> None:
    """Partitions are given away soon: what is committed is what was matched, also where that is nothing."""
    desk = Desk(f"s-{number}" for number in range(300))
    await desk.take(make_chunk(6))
    await desk.intake.take(make_chunk(*range(7, 107)))
    await asyncio.sleep(0)
    await desk.intake.drain()
    matched = desk.ledger.dispatched()

    assert 1 <= len(matched) < 100
    assert [{TP3: 6 + len(matched)}] == desk.commits


async def test_where_nothing_is_matched_that_is_committed() -> None:
    """Faust goes back to a commit only: of a partition without one, what waits would be lost."""
    desk = Desk()
    await desk.intake.take(make_chunk(7, 8))
    await desk.intake.drain()

    assert ([], [{TP3: 7}]) == (desk.ledger.dispatched(), desk.commits)


async def test_a_failure_ends_the_work_instead_of_losing_an_event() -> None:
    """Events behind it are not written, and never committed: the process ends with the failure."""
    desk = Desk()
    await desk.take(make_chunk(0))
    desk.ledger.error = RuntimeError("a mistake of ours")
    await desk.take(make_chunk(1))
    desk.ledger.error = None
    await desk.take(make_chunk(2))
    with pytest.raises(RuntimeError, match="a mistake of ours"):
        await desk.matching
    await desk.progress.commit_now()

    assert [0] == desk.ledger.dispatched()
    assert [{TP3: 1}] == desk.commits


async def test_a_record_that_cannot_be_handled_ends_the_work() -> None:
    """A mistake in matching ends the work too: whatever it is, it is not passed over."""
    desk = Desk()
    desk.failure = MemoryError()
    await desk.take(make_chunk(0))
    with pytest.raises(MemoryError):
        await desk.matching


async def test_draining_waits_for_what_is_being_matched() -> None:
    """Partitions are given away with everything settled that was begun."""
    desk = Desk()
    desk.ledger.is_slow = True
    await desk.take(make_chunk(0))
    draining = asyncio.create_task(desk.intake.drain())
    await asyncio.sleep(0)
    assert not draining.done()
    desk.ledger.waiting[0].set_result(Placement(0, 0))
    await draining

    assert [{TP3: 1}] == desk.commits


async def test_what_is_settled_after_partitions_went_is_not_committed() -> None:
    """The partitions are another process's, which may have come further."""
    desk = Desk()
    desk.ledger.is_slow = True
    await desk.take(make_chunk(0))
    desk.intake.forget()
    desk.ledger.waiting[0].set_result(Placement(0, 0))
    await desk.intake.drain()

    assert [] == desk.commits


async def test_of_a_chunk_from_before_nothing_is_committed() -> None:
    """The chunk was fetched before partitions were taken away, or read anew: it is matched all the same."""
    desk = Desk()
    chunk = make_chunk(0, 1)
    desk.intake.restart()
    await desk.take(chunk)
    await desk.intake.drain()

    assert [0, 1] == desk.ledger.dispatched()
    assert [] == desk.commits


async def test_closed_it_takes_nothing_more() -> None:
    """Records that Faust still hands over at the end are left for the next process."""
    desk = Desk()
    await desk.take(make_chunk(0))
    await desk.intake.close()
    await desk.take(make_chunk(1))

    assert [0] == desk.ledger.dispatched()
    assert [{TP3: 1}] == desk.commits


async def test_nothing_is_matched_behind_the_commit_of_a_drain() -> None:
    """Records that come while partitions are given away are read again: matched now, they would be matched twice."""
    desk = Desk()
    desk.ledger.is_slow = True
    await desk.take(make_chunk(0, 1))

    async def give_away() -> None:
        await desk.intake.drain()
        desk.intake.forget()

    giving = asyncio.create_task(give_away())
    await desk.settle()
    await desk.take(make_chunk(2, 3))
    for waiting in desk.ledger.waiting:
        waiting.set_result(Placement(0, 0))
    await giving
    await desk.settle()

    assert [0, 1] == desk.ledger.dispatched()
    assert [{TP3: 2}] == desk.commits
    await desk.take(make_chunk(2, 3))
    assert [0, 1, 2, 3] == desk.ledger.dispatched()


async def test_what_was_overtaken_is_matched_before_the_commit() -> None:
    """A costly application has fallen behind another one: nothing that was matched is matched again."""
    desk = Desk()
    desk.costs_s = {APPLICATION: 0.1, OTHER: 0.0001}
    await desk.intake.take(make_chunk(*range(20)))
    await desk.intake.take(make_chunk(*range(20, 120), application_id=OTHER))
    async with asyncio.timeout(30):
        await desk.ledger.begun.wait()
    before = desk.ledger.dispatched()
    await desk.intake.drain()
    matched = desk.ledger.dispatched()

    assert list(range(len(before))) != sorted(before)
    assert list(range(len(matched))) == sorted(matched)
    assert [{TP3: len(matched)}] == desk.commits
