"""Chunk after chunk: match, write, tell the progress. Knows neither Faust nor a client."""

import asyncio
import time
from collections.abc import Awaitable, Sequence
from typing import Protocol

from pipeline.kafka.producer import Placement
from pipeline.matcher.chunks import ChunkValue
from pipeline.matcher.matching import Matcher, ToWrite
from pipeline.matcher.progress import Progress
from pipeline.metrics import Metrics


class Writer(Protocol):
    """Writes to the log, in order."""

    def __len__(self) -> int:
        """Records on their way."""

    def send_patiently(self, records: Sequence[ToWrite]) -> "Awaitable[asyncio.Future[Placement]]":
        """Returns when all are handed over; the future is done when all are acknowledged."""

    async def wait_open(self) -> None:
        """Return when what a chunk leads to can be written."""


class Intake:
    """Takes one chunk at a time."""

    def __init__(self, matcher: Matcher, writer: Writer, progress: Progress, metrics: Metrics) -> None:
        self._matcher = matcher
        self._writer = writer
        self._progress = progress
        self._metrics = metrics
        self._idle = asyncio.Event()
        self._idle.set()
        self._is_closed = False

    async def take(self, chunk: ChunkValue) -> None:
        """Match a chunk and hand on what it leads to; returns when it is on its way."""
        if self._is_closed:
            return  # nothing is committed behind what was taken: it is read again
        assignment = self._progress.assignment
        await self._writer.wait_open()
        if self._is_closed or assignment != self._progress.assignment:
            return  # its partitions were taken away meanwhile
        self._idle.clear()
        try:
            self._metrics.chunk_records.observe(len(chunk.records))
            # of what was fetched before a log was cut off or made again nothing is committed: its offsets count in
            # another log
            await self._work(chunk, chunk.assignment)
        except Exception as error:
            # Faust would begin anew with the chunk behind this one, which would lose it: this ends the process.
            failed: asyncio.Future[Placement] = asyncio.get_running_loop().create_future()
            failed.set_exception(error)
            self._is_closed = True
            await self._progress.add(failed, {}, assignment)
        finally:
            self._idle.set()

    async def drain(self) -> None:
        """Wait until what was taken is settled, and commit."""
        await self._idle.wait()
        await self._progress.drain()

    def forget(self) -> None:
        """Partitions were taken away."""
        self._progress.forget()
        self._matcher.forget()

    async def close(self) -> None:
        """Take nothing more; the rest as `drain`."""
        self._is_closed = True
        await self.drain()

    async def _work(self, chunk: ChunkValue, assignment: int) -> None:
        portion: list[ToWrite] = []
        async for following in self._matcher.match(chunk.records):
            if portion:
                await self._progress.add(await self._writer.send_patiently(portion), {}, assignment)
            portion = following
        # with the last one all of the chunk is written
        written = await self._writer.send_patiently(portion)
        oldest_s = chunk.records[0].timestamp / 1000
        written.add_done_callback(lambda _: self._metrics.match_seconds.observe(max(0.0, time.time() - oldest_s)))
        self._metrics.in_flight.set(len(self._writer))
        await self._progress.add(written, chunk.last_offsets, assignment)
