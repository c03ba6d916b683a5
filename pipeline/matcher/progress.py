"""How far the matcher has come: acknowledged writes settle records, and a task commits the watermark."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

import structlog
from faust.types import TP

from pipeline.core.log.watermark import Watermark
from pipeline.kafka.producer import Placement
from pipeline.metrics import Metrics

Commit = Callable[[Mapping[TP, int]], Awaitable[bool]]
Settled = Sequence[tuple[Watermark, int]]  # marks and offsets
STUCK_AFTER_S = 120.0
log = structlog.get_logger()


class Progress:
    """Takes records read and their writes; yields commits, never ahead of an acknowledgement.

    A commit can hang for half a minute while a broker is away, so it is never on the path of the work: the newest
    watermark supersedes the ones that were not committed yet. `commit` answers False when the group has gone on
    without us.
    """

    def __init__(self, commit: Commit, metrics: Metrics, *, in_flight_max: int, commit_interval_s: float) -> None:
        self._commit = commit
        self._metrics = metrics
        self._interval_s = commit_interval_s
        self._written: asyncio.Queue[tuple[asyncio.Future[Placement], Settled]] = asyncio.Queue(in_flight_max)
        self._marks: dict[TP, Watermark] = {}
        self._committed: dict[TP, int] = {}
        self._settled_at_s = time.monotonic()
        self.assignment = 0  # counted up when partitions are taken away, or read anew

    def take(self, tp: TP, offset: int, assignment: int) -> Watermark | None:
        """Take a record that was read; returns the watermark to settle it in. `assignment`: as it was at the fetch.

        None: partitions were taken away since, or their offsets count in another log: nothing is committed of it.
        """
        if assignment != self.assignment:
            return None
        mark = self._marks.get(tp)
        if mark is None or offset < mark.next_offset:  # the first one, or reading went back
            mark = self._marks[tp] = Watermark(offset)
            self._committed[tp] = offset
        mark.take(offset)
        return mark

    async def add(self, written: "asyncio.Future[Placement]", settled: Settled) -> None:
        """Add writes that are under way; wait while there are too many. The records of `settled` are done with them."""
        if self._written.empty():
            self._settled_at_s = time.monotonic()
        await self._written.put((written, settled))

    async def settle_regularly(self) -> None:
        """Runs for ever: await the acknowledgements in order. Raises what writing raised."""
        while True:
            written, settled = await self._written.get()
            await written
            for mark, offset in settled:
                mark.settle(offset)
            self._settled_at_s = time.monotonic()
            self._written.task_done()

    def pass_over(self, tp: TP, begin: int | None, end: int) -> None:
        """The log holds no record between these offsets. `begin`: behind the last record read; None: none was yet.

        Nothing is passed over while a record that was read is not taken. Offsets passed over before lie between them.
        """
        mark = self._marks.get(tp)
        if mark is not None and (begin or 0) <= mark.next_offset:
            mark.skip_to(end)
        elif mark is None and begin is None:
            self._marks[tp] = Watermark(end)

    def settled(self, tp: TP) -> int | None:
        """Everything before this offset is done with; None: nothing was read of it."""
        mark = self._marks.get(tp)
        return None if mark is None else mark.committable

    async def commit_regularly(self) -> None:
        """Runs for ever: commit what has been settled."""
        while True:
            await asyncio.sleep(self._interval_s)
            await self.commit_now()

    async def commit_now(self, *, all_of_them: bool = False) -> None:
        """Commit the watermarks that moved. One that fails leaves more to be repeated, nothing to be lost."""
        positions = {tp: mark.committable for tp, mark in self._marks.items()}
        if not all_of_them:
            positions = {tp: offset for tp, offset in positions.items() if offset != self._committed.get(tp)}
        if not positions:
            return
        try:
            is_done = await self._commit(positions)
        except Exception as error:
            # aiokafka raises whatever the broker answered
            self._metrics.commits_total.labels("failed").inc()
            log.warning("commit_failed", reason=f"{type(error).__name__}: {error}")
            return  # to be tried again, unless there is something newer
        self._committed.update({tp: offset for tp, offset in positions.items() if tp in self._marks})
        self._metrics.commits_total.labels("ok" if is_done else "superseded").inc()

    async def drain(self) -> None:
        """Wait until all is written, then commit: before partitions are given away, and at the end.

        Where nothing is done as well: Faust goes on with a partition without a commit where it has read up to.
        """
        await self._written.join()
        await self.commit_now(all_of_them=True)

    def forget(self) -> None:
        """Forget partitions that were taken away: no commits for them, nor for their records on the way."""
        self.assignment += 1
        self._marks.clear()
        self._committed.clear()

    def check(self) -> str | None:
        """Health: None, or the problem."""
        waited_s = time.monotonic() - self._settled_at_s
        if not self._written.empty() and waited_s > STUCK_AFTER_S:
            return f"nothing was written for {waited_s:.0f} s"
        return None
