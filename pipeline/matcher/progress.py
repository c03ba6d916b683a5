"""How far the matcher has come: what was written is settled in order, the newest watermark is committed by a task of
its own.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

import structlog
from faust.types import TP

from pipeline.kafka.producer import Placement
from pipeline.metrics import Metrics

Commit = Callable[[Mapping[TP, int]], Awaitable[bool]]
STUCK_AFTER_S = 120.0
log = structlog.get_logger()


class Progress:
    """In: what is being written, and how far it brings us. Out: commits of `last offset + 1`, never ahead of an
    acknowledgement.

    A commit can hang for half a minute while a broker is away, so it is never on the path of the work: the newest
    watermark supersedes the ones that were not committed yet. `commit` answers False when the group has gone on
    without us.
    """

    def __init__(self, commit: Commit, metrics: Metrics, *, in_flight_max: int, commit_interval_s: float) -> None:
        self._commit = commit
        self._metrics = metrics
        self._interval_s = commit_interval_s
        self._written: asyncio.Queue[tuple[asyncio.Future[Placement], Mapping[TP, int], int]] = asyncio.Queue(
            in_flight_max
        )
        self._watermark: dict[TP, int] = {}  # to be committed
        self.settled: dict[TP, int] = {}  # where each partition goes on behind what is written
        self._settled_at_s = time.monotonic()
        self.assignment = 0  # counted up when partitions are taken away

    async def add(self, written: "asyncio.Future[Placement]", last_offsets: Mapping[TP, int], assignment: int) -> None:
        """Something is on its way; waits while too much is. Everything up to `last_offsets` is done with it.

        `assignment`: what it was when the records were read. They are somebody else's if it has changed since.
        """
        if self._written.empty():
            self._settled_at_s = time.monotonic()
        await self._written.put((written, last_offsets, assignment))

    async def settle_regularly(self) -> None:
        """Runs for ever: await the acknowledgements in order. Raises what writing raised."""
        while True:
            written, last_offsets, assignment = await self._written.get()
            await written
            if assignment == self.assignment:
                for tp, offset in last_offsets.items():
                    self._watermark[tp] = self.settled[tp] = max(offset + 1, self.settled.get(tp, 0))
            self._settled_at_s = time.monotonic()
            self._written.task_done()

    def pass_over(self, tp: TP, begin: int, end: int) -> None:
        """The log holds no record between these offsets: once all before `begin` is settled, all before `end` is."""
        if begin <= self.settled.get(tp, begin) < end:
            self._watermark[tp] = self.settled[tp] = end

    async def commit_regularly(self) -> None:
        """Runs for ever: commit what has been settled."""
        while True:
            await asyncio.sleep(self._interval_s)
            await self.commit_now()

    async def commit_now(self) -> None:
        """Commit the newest watermark. One that fails leaves more to be repeated, nothing to be lost."""
        if not self._watermark:
            return
        watermark, self._watermark = self._watermark, {}
        assignment = self.assignment
        try:
            is_done = await self._commit(watermark)
        except Exception as error:
            # aiokafka raises whatever the broker answered
            self._metrics.commits_total.labels("failed").inc()
            log.warning("commit_failed", reason=f"{type(error).__name__}: {error}")
            if assignment == self.assignment:
                self._watermark = watermark | self._watermark  # to be tried again, unless there is something newer
            return
        self._metrics.commits_total.labels("ok" if is_done else "superseded").inc()

    async def drain(self) -> None:
        """Wait until all is written, then commit: before partitions are given away, and at the end."""
        await self._written.join()
        await self.commit_now()

    def forget(self) -> None:
        """Partitions were taken away: do not commit for them, nor for what of them is still on its way."""
        self.assignment += 1
        self._watermark.clear()
        self.settled.clear()

    def check(self) -> str | None:
        """Health: None, or what is wrong."""
        waited_s = time.monotonic() - self._settled_at_s
        if not self._written.empty() and waited_s > STUCK_AFTER_S:
            return f"nothing was written for {waited_s:.0f} s"
        return None
