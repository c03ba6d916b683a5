import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest
from faust.types import TP
from prometheus_client import generate_latest

from pipeline.kafka.producer import KafkaUnavailableError, Placement
from pipeline.matcher.progress import Progress
from pipeline.metrics import Metrics

ONE, OTHER = TP("events", 0), TP("events", 1)
DONE = Placement(0, 0)


class Commits:
    """Notes commits. Fails, or is refused, when a test says so."""

    def __init__(self) -> None:
        self.made: list[dict[TP, int]] = []
        self.error: Exception | None = None
        self.answer = True

    async def __call__(self, watermark: Mapping[TP, int]) -> bool:
        if self.error is not None:
            raise self.error
        self.made.append(dict(watermark))
        return self.answer


class Desk:
    """A `Progress` whose settling runs, and whose commits are made by hand."""

    def __init__(self, in_flight_max: int) -> None:
        self.commits = Commits()
        self.metrics = Metrics("matcher")
        self.progress = Progress(self.commits, self.metrics, in_flight_max=in_flight_max, commit_interval_s=60)
        self.settling = asyncio.create_task(self.progress.settle_regularly())
        self.next_offsets: dict[TP, int] = {}

    async def add(self, last_offsets: Mapping[TP, int]) -> "asyncio.Future[Placement]":
        """Records up to these offsets, of each partition those behind the last call's, are being written."""
        written: asyncio.Future[Placement] = asyncio.get_running_loop().create_future()
        settled = []
        for tp, last in last_offsets.items():
            for offset in range(self.next_offsets.get(tp, 0), last + 1):
                mark = self.progress.take(tp, offset, self.progress.assignment)
                assert mark is not None
                settled.append((mark, offset))
            self.next_offsets[tp] = last + 1
        await self.progress.add(written, settled)
        return written

    async def commit(self) -> list[dict[TP, int]]:
        """Everything that can happen has happened; then a commit. All commits so far."""
        for _ in range(10):
            await asyncio.sleep(0)
        await self.progress.commit_now()
        return self.commits.made


@asynccontextmanager
async def open_desk(*, in_flight_max: int = 10) -> AsyncIterator[Desk]:
    desk = Desk(in_flight_max)
    try:
        yield desk
    finally:
        desk.settling.cancel()


async def test_nothing_is_committed_before_it_is_acknowledged() -> None:
    """Commits are in the order of the log: what was acknowledged early waits for what was before it."""
    async with open_desk() as desk:
        first, second = await desk.add({ONE: 4}), await desk.add({ONE: 9, OTHER: 2})
        second.set_result(DONE)
        assert [] == await desk.commit()
        first.set_result(DONE)

        assert [{ONE: 10, OTHER: 3}] == await desk.commit()


async def test_the_newest_watermark_supersedes() -> None:
    """One commit for all that was settled since the last one, and none when there is nothing new."""
    async with open_desk() as desk:
        for offset in (1, 2, 3):
            (await desk.add({ONE: offset})).set_result(DONE)
        await desk.commit()
        await desk.commit()

        assert [{ONE: 4}] == await desk.commit()


async def test_what_could_not_be_committed_is_tried_again() -> None:
    """The commit is repeated even when nothing more comes: a restart would repeat the events after a mere hiccup."""
    async with open_desk() as desk:
        (await desk.add({ONE: 1, OTHER: 1})).set_result(DONE)
        desk.commits.error = TimeoutError("no answer")
        assert [] == await desk.commit()
        (await desk.add({ONE: 7})).set_result(DONE)
        desk.commits.error = None

        assert [{ONE: 8, OTHER: 2}] == await desk.commit()
        assert b'hookline_commits_total{result="failed"} 1.0' in generate_latest(desk.metrics.registry)


async def test_a_refused_commit_is_the_next_owners_affair() -> None:
    """The group has gone on without us: it is counted, and not tried again."""
    async with open_desk() as desk:
        (await desk.add({ONE: 1})).set_result(DONE)
        desk.commits.answer = False
        await desk.commit()

        assert [{ONE: 2}] == await desk.commit()
        assert b'hookline_commits_total{result="superseded"} 1.0' in generate_latest(desk.metrics.registry)


async def test_partitions_that_were_taken_away_are_not_committed() -> None:
    """Neither what was settled, nor what is acknowledged later, nor what had failed to be committed."""
    async with open_desk() as desk:
        settled, on_its_way = await desk.add({ONE: 1}), await desk.add({ONE: 2})
        settled.set_result(DONE)
        desk.commits.error = TimeoutError("no answer")
        await desk.commit()
        desk.commits.error = None
        desk.progress.forget()
        on_its_way.set_result(DONE)
        assert [] == await desk.commit()
        (await desk.add({OTHER: 0})).set_result(DONE)

        assert [{OTHER: 1}] == await desk.commit()


async def test_too_much_on_its_way_waits() -> None:
    """Memory is bounded: reading adds no more than acknowledgements remove."""
    async with open_desk(in_flight_max=2) as desk:
        # one is awaited, two are in line
        written = [await desk.add({ONE: offset}) for offset in range(3)]
        await asyncio.sleep(0)
        adding = asyncio.create_task(desk.add({ONE: 3}))
        await desk.commit()
        assert not adding.done()
        written[0].set_result(DONE)
        await desk.commit()

        assert adding.done()


async def test_draining_waits_for_all_and_commits() -> None:
    """Draining comes before partitions are given away, and at the end."""
    async with open_desk() as desk:
        written = [await desk.add({ONE: offset}) for offset in range(3)]
        draining = asyncio.create_task(desk.progress.drain())
        for future in written[:2]:
            future.set_result(DONE)
        await asyncio.sleep(0)
        assert not draining.done()
        written[2].set_result(DONE)
        await draining

        assert [{ONE: 3}] == desk.commits.made


async def test_what_was_not_written_ends_the_work() -> None:
    """The failure comes out where the process waits for it; nothing behind it is ever committed."""
    async with open_desk() as desk:
        first, second = await desk.add({ONE: 1}), await desk.add({ONE: 2})
        second.set_result(DONE)
        first.set_exception(KafkaUnavailableError("gone"))
        with pytest.raises(KafkaUnavailableError, match="gone"):
            await desk.settling

        assert [] == await desk.commit()


async def test_health() -> None:
    """Health is well with nothing on its way, however long ago something was."""
    async with open_desk() as desk:
        assert desk.progress.check() is None
        await desk.add({ONE: 1})
        assert desk.progress.check() is None


async def test_what_waits_holds_the_watermark_back() -> None:
    """Records are matched in another order than they were read in: what was not, is read again after a restart."""
    async with open_desk() as desk:
        settled = [(mark, offset) for offset in range(5, 9) if (mark := desk.progress.take(ONE, offset, 0))]
        later, earlier = (asyncio.get_running_loop().create_future() for _ in range(2))
        await desk.progress.add(later, settled[2:])
        later.set_result(DONE)
        assert [] == await desk.commit()
        await desk.progress.add(earlier, settled[:2])
        earlier.set_result(DONE)

        assert [{ONE: 9}] == await desk.commit()


async def test_reading_that_goes_back_counts_from_there() -> None:
    """The log was cut off: the same offsets are other records, and those from before settle nothing."""
    async with open_desk() as desk:
        before = await desk.add({ONE: 9})
        desk.next_offsets[ONE] = 4
        after = await desk.add({ONE: 5})
        before.set_result(DONE)
        assert [] == await desk.commit()
        after.set_result(DONE)

        assert [{ONE: 6}] == await desk.commit()


async def test_offsets_without_a_record_are_passed_over() -> None:
    """Ends of transactions at the end of a partition: behind what was read, and not before it is settled."""
    async with open_desk() as desk:
        written = await desk.add({ONE: 4})
        desk.progress.pass_over(ONE, 5, 7)
        desk.progress.pass_over(OTHER, None, 3)
        assert [{OTHER: 3}] == await desk.commit()
        written.set_result(DONE)

        assert [{OTHER: 3}, {ONE: 7}] == await desk.commit()
        desk.progress.pass_over(ONE, 9, 12)  # records before 9 were fetched, and not taken yet
        assert 7 == desk.progress.settled(ONE)
        desk.progress.pass_over(ONE, 5, 9)  # another end of a transaction, and still no record
        desk.progress.pass_over(OTHER, None, 4)
        assert [{OTHER: 3}, {ONE: 7}, {ONE: 9, OTHER: 4}] == await desk.commit()
