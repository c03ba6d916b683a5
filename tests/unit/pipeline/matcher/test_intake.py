import asyncio
from collections.abc import Iterable, Mapping, Sequence

import pytest
from faust.types import TP

from pipeline.core.records import Dispatch, from_bytes
from pipeline.kafka.producer import Placement
from pipeline.matcher.chunks import ChunkValue
from pipeline.matcher.intake import Intake
from pipeline.matcher.matching import Matcher, ToWrite
from pipeline.matcher.progress import Progress
from pipeline.metrics import Metrics
from pipeline.topics import declare_topics
from tests.unit.pipeline.matcher.records import FixedRoutes, StoredRecord, make_event, make_routes, store

TOPICS = declare_topics(prefix="t.", partitions=4, event_retention_s=3600)
TP3 = TP("t.events", 3)


class Ledger:
    """A `Writer`: acknowledges at once, or as told."""

    def __init__(self) -> None:
        self.written: list[ToWrite] = []
        self.portions = 0
        self.error: Exception | None = None
        self.is_slow = False
        self.waiting: list[asyncio.Future[Placement]] = []

    def __len__(self) -> int:
        return len(self.waiting)

    async def wait_open(self) -> None:
        """It takes records."""

    async def send_patiently(self, records: Sequence[ToWrite]) -> "asyncio.Future[Placement]":
        if self.error is not None:
            raise self.error
        self.written += records
        self.portions += 1
        future: asyncio.Future[Placement] = asyncio.get_running_loop().create_future()
        if self.is_slow:
            self.waiting.append(future)
        else:
            future.set_result(Placement(0, 0))
        return future

    def dispatched(self) -> list[int]:
        """Offsets of the events that were dispatched."""
        records = [from_bytes(value) for _, _, value in self.written]
        return [record.event_offset for record in records if isinstance(record, Dispatch)]


class Desk:
    """An `Intake` with all its parts real but the log."""

    def __init__(self, subscriptions: Iterable[str] = ("s",)) -> None:
        self.ledger = Ledger()
        self.commits: list[dict[TP, int]] = []
        metrics = Metrics("matcher")
        routes = FixedRoutes()
        routes.publish(make_routes({each: {} for each in subscriptions}))
        matcher = Matcher(
            TOPICS,
            routes,
            metrics,
            recent_ids_max=1000,
            record_max_bytes=1_000_000,
            routes_wait_s=1,
            clock_us=lambda: 0,
        )
        self.progress = Progress(self._commit, metrics, in_flight_max=100, commit_interval_s=60)
        self.intake = Intake(matcher, self.ledger, self.progress, metrics)
        self.settling = asyncio.create_task(self.progress.settle_regularly())

    async def _commit(self, watermark: Mapping[TP, int]) -> bool:
        self.commits.append(dict(watermark))
        return True


def make_chunk(*offsets: int, size_bytes: int = 10) -> ChunkValue:
    records = [store(make_event(offset + 1, payload=b"x" * size_bytes), offset) for offset in offsets]
    return ChunkValue(records, {TP3: offsets[-1]})


async def test_chunks_are_written_and_committed_in_order() -> None:
    """Each is on its way when `take` returns; draining commits behind the last one."""
    desk = Desk()
    await desk.intake.take(make_chunk(0, 1, 2))
    await desk.intake.take(make_chunk(3))
    await desk.intake.drain()

    assert [0, 1, 2, 3] == desk.ledger.dispatched()
    assert [{TP3: 4}] == desk.commits


async def test_a_chunk_in_portions_is_committed_when_all_are_written() -> None:
    """Half of what an event leads to is not the event."""
    desk = Desk(f"s-{number}" for number in range(100))
    desk.ledger.is_slow = True
    await desk.intake.take(make_chunk(0, size_bytes=100_000))
    assert desk.ledger.portions > 3
    for future in desk.ledger.waiting[:-1]:
        future.set_result(Placement(0, 0))
    await asyncio.sleep(0)
    await desk.progress.commit_now()
    assert [] == desk.commits
    desk.ledger.waiting[-1].set_result(Placement(0, 0))
    await desk.intake.drain()

    assert [{TP3: 1}] == desk.commits


async def test_a_failure_ends_the_work_instead_of_losing_a_chunk() -> None:
    """What comes behind a chunk that failed is not written, and never committed: the process ends with the failure."""
    desk = Desk()
    await desk.intake.take(make_chunk(0))
    desk.ledger.error = RuntimeError("a mistake of ours")
    await desk.intake.take(make_chunk(1))
    desk.ledger.error = None
    await desk.intake.take(make_chunk(2))
    with pytest.raises(RuntimeError, match="a mistake of ours"):
        await desk.settling
    await desk.progress.commit_now()

    assert [0] == desk.ledger.dispatched()
    assert [{TP3: 1}] == desk.commits


async def test_a_record_that_cannot_be_handled_ends_the_work() -> None:
    """The same for a mistake in matching: whatever it is, it is not passed over."""
    desk = Desk()
    broken = StoredRecord(key=b"k", value=7)  # type: ignore[arg-type]  # what never comes
    await desk.intake.take(ChunkValue([broken], {TP3: 0}))
    with pytest.raises(TypeError):
        await desk.settling


async def test_draining_waits_for_the_chunk_in_hand() -> None:
    """Partitions are given away with everything settled that was begun."""
    desk = Desk()
    desk.ledger.is_slow = True
    await desk.intake.take(make_chunk(0))
    draining = asyncio.create_task(desk.intake.drain())
    await asyncio.sleep(0)
    assert not draining.done()
    desk.ledger.waiting[0].set_result(Placement(0, 0))
    await draining

    assert [{TP3: 1}] == desk.commits


async def test_what_is_settled_after_partitions_went_is_not_committed() -> None:
    """They are somebody else's, who may have come further."""
    desk = Desk()
    desk.ledger.is_slow = True
    await desk.intake.take(make_chunk(0))
    desk.intake.forget()
    desk.ledger.waiting[0].set_result(Placement(0, 0))
    await desk.intake.drain()

    assert [] == desk.commits


async def test_closed_it_takes_nothing_more() -> None:
    """What Faust still hands over at the end is left for the next process."""
    desk = Desk()
    await desk.intake.take(make_chunk(0))
    await desk.intake.close()
    await desk.intake.take(make_chunk(1))

    assert [0] == desk.ledger.dispatched()
    assert [{TP3: 1}] == desk.commits
