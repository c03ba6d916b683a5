"""How far the matcher has come: chunks are settled in order, the newest watermark is committed by a task of its own."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

import structlog
from faust.types import TP

from pipeline.kafka.producer import Placement
from pipeline.metrics import Metrics

Commit = Callable[[Mapping[TP, int]], Awaitable[None]]
STUCK_AFTER_S = 120.0
log = structlog.get_logger()


class Progress:
    """In: chunks whose deliveries are being written. Out: commits of `last offset + 1`, never ahead of their
    acknowledgement.

    A commit can hang for half a minute while a broker is away, so it is never on the path of the work: the newest
    watermark supersedes the ones that were not committed yet.
    """

    def __init__(
        self, commit: Commit, metrics: Metrics, *, chunks_in_flight_max: int, commit_interval_s: float
    ) -> None:
        self._commit = commit
        self._metrics = metrics
        self._interval_s = commit_interval_s
        self._chunks: asyncio.Queue[tuple[asyncio.Future[Placement], Mapping[TP, int]]] = asyncio.Queue(
            chunks_in_flight_max
        )
        self._watermark: dict[TP, int] = {}
        self._settled_at_s = time.monotonic()

    async def add(self, written: "asyncio.Future[Placement]", last_offsets: Mapping[TP, int]) -> None:
        """A chunk is on its way; waits while too many are."""
        if self._chunks.empty():
            self._settled_at_s = time.monotonic()
        await self._chunks.put((written, last_offsets))

    async def settle_chunks(self) -> None:
        """Runs for ever: await each chunk's acknowledgement in order. Raises what writing raised."""
        while True:
            written, last_offsets = await self._chunks.get()
            await written
            for tp, offset in last_offsets.items():
                self._watermark[tp] = max(offset + 1, self._watermark.get(tp, 0))
            self._settled_at_s = time.monotonic()
            self._chunks.task_done()

    async def commit_regularly(self) -> None:
        """Runs for ever: commit what has been settled."""
        while True:
            await asyncio.sleep(self._interval_s)
            await self.commit_now()

    async def commit_now(self) -> None:
        """Commit the newest watermark; what fails by a rebalance is read again by the new owner."""
        if not self._watermark:
            return
        watermark, self._watermark = self._watermark, {}
        try:
            await self._commit(watermark)
            self._metrics.commits_total.labels("ok").inc()
        except Exception as error:
            # aiokafka raises whatever the broker answered; the group decides what is read again
            self._metrics.commits_total.labels("failed").inc()
            log.warning("commit_failed", reason=f"{type(error).__name__}: {error}")

    async def drain(self) -> None:
        """Wait for all chunks, then commit: before partitions are given away, and at the end."""
        await self._chunks.join()
        await self.commit_now()

    def forget(self) -> None:
        """Partitions were taken away: do not commit for them."""
        self._watermark.clear()

    def check(self) -> str | None:
        """Health: None, or what is wrong."""
        waited_s = time.monotonic() - self._settled_at_s
        if not self._chunks.empty() and waited_s > STUCK_AFTER_S:
            return f"no chunk was settled for {waited_s:.0f} s"
        return None
