"""Read ahead, match in turns, write, tell the progress. Knows neither Faust nor a client."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Protocol

from faust.types import TP

from pipeline.kafka.producer import Placement
from pipeline.matcher.chunks import ChunkValue
from pipeline.matcher.matching import EventRecord, Matcher, ToWrite
from pipeline.matcher.progress import Progress
from pipeline.matcher.read_ahead import ReadAhead, Waiting
from pipeline.metrics import Metrics

# Records matched at once, and the writes they may lead to: for so long (10 ms) nothing is read and no other task runs.
PORTION_RECORDS = 100
PORTION_WRITES = 400
PORTION_S = 0.01
# For each such time others have a turn of the loop. A fetch takes a dozen turns: with one for each portion, beside
# events that match 500 subscriptions, 25 ms each, the events of others were read up to 2.7 s late.
TURN_FOR_S = 0.001
TURNS_MAX = 100
# For records that were overtaken, before partitions are given away: others wait for that. Those left are matched again
# by the next owner, which takes as long.
CATCH_UP_S = 3.0


class Writer(Protocol):
    """Writes to the log, in order."""

    def __len__(self) -> int:
        """Records on their way."""

    def send_patiently(self, records: Sequence[ToWrite]) -> "Awaitable[asyncio.Future[Placement]]":
        """Returns when all are handed over; the future is done when all are acknowledged."""

    async def wait_open(self) -> None:
        """Return when what a record leads to can be written."""


class Intake:
    """Takes chunks as they are read, matches their records in portions. `ahead_max_*`: bounds of waiting records."""

    def __init__(
        self,
        matcher: Matcher,
        writer: Writer,
        progress: Progress,
        metrics: Metrics,
        *,
        ahead_max_records: int,
        ahead_max_bytes: int,
        clock_us: Callable[[], int],
        clock: Callable[[], float] = time.perf_counter,
        work_clock: Callable[[], float] = time.thread_time,
    ) -> None:
        """`work_clock`: processor seconds of the loop.

        By the time of day, an application was charged for the moments in which others had the processor: on a machine
        with six busy processes beside it a thousand records were overtaken, and matched twice in a rebalance.
        """
        """`clock_us`: the log's clock, which set the times of the records. `clock`: seconds, of what takes long."""
        self._matcher = matcher
        self._writer = writer
        self._progress = progress
        self._metrics = metrics
        self._clock_us = clock_us
        self._clock = clock
        self._work_clock = work_clock
        self._ahead_max_records = ahead_max_records
        self._ahead_max_bytes = ahead_max_bytes
        self._ahead = ReadAhead()
        self._overtaken = ReadAhead()  # while draining: what is matched before the commit
        self._portion_records = PORTION_RECORDS
        self._turns_given_at_s = 0.0
        self._is_filled = asyncio.Event()
        self._has_room = asyncio.Event()
        self._is_idle = asyncio.Event()
        self._is_idle.set()
        self._has_caught_up = asyncio.Event()
        self._is_closed = self._is_draining = False

    async def take(self, chunk: ChunkValue) -> None:
        """Take a chunk in; returns when there is room for another."""
        if self._is_closed:
            return  # nothing is committed behind records taken before: they are read again
        self._metrics.chunk_records.observe(len(chunk.records))
        for record in chunk.records:
            mark = self._progress.take(TP(record.topic, record.partition), record.offset, chunk.assignment)
            self._ahead.add(Waiting(record, mark))
        self._is_filled.set()
        while self._is_full() and not self._is_closed:
            self._has_room.clear()
            await self._has_room.wait()

    async def run(self) -> None:
        """Match taken records, for ever. Raises any failure, so that nothing behind it is ever committed."""
        while True:
            await self._is_filled.wait()
            await self._writer.wait_open()
            ahead = self._overtaken if self._is_draining else self._ahead
            if not ahead or (self._is_closed and not self._is_draining):
                self._is_filled.clear()
                self._has_caught_up.set()
                continue
            self._is_idle.clear()
            self._turns_given_at_s = self._clock()
            await self._work(ahead)
            self._is_idle.set()
            if not self._is_full():
                self._has_room.set()
            await self._give_turns()

    async def drain(self) -> None:
        """Wait until records being matched are settled, and commit. Waiting records are read again from there.

        So that few are matched again, those that others overtook are matched before, and those that come meanwhile are
        not.
        """
        self._overtaken = self._ahead.take_overtaken()
        self._drop()
        self._is_draining = True
        try:
            if self._overtaken:
                await self._catch_up()
            await self._is_idle.wait()
            await self._progress.drain()
        finally:
            self._is_draining = False
            self._is_filled.set()

    async def _catch_up(self) -> None:
        self._has_caught_up.clear()
        self._is_filled.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CATCH_UP_S):
                await self._has_caught_up.wait()
        self._overtaken.clear()

    def forget(self) -> None:
        """Forget the records of partitions that were taken away."""
        self._drop()
        self._progress.forget()
        self._matcher.forget()

    def restart(self) -> None:
        """Records under way are read again: nothing of them is committed."""
        self._drop()
        self._progress.forget()

    async def close(self) -> None:
        """Take nothing more; the rest as `drain`."""
        self._is_closed = True
        await self.drain()

    def _drop(self) -> None:
        self._ahead.clear()
        self._has_room.set()

    def _is_full(self) -> bool:
        return len(self._ahead) >= self._ahead_max_records or self._ahead.size_bytes >= self._ahead_max_bytes

    async def _work(self, ahead: ReadAhead) -> None:
        portion: list[Waiting] = []
        to_write: list[ToWrite] = []
        written_records = 0
        async for following in self._matcher.match(self._draw(ahead, portion)):
            if to_write:
                await self._give_turns()
                await self._progress.add(await self._writer.send_patiently(to_write), [])
            to_write = following
            written_records += len(following)
        if not portion:
            return
        # with the last one all of the portion is written
        written = await self._writer.send_patiently(to_write)
        oldest_us = portion[0].record.timestamp * 1000

        def observe(_: object) -> None:
            self._metrics.match_seconds.observe(max(0, self._clock_us() - oldest_us) / 1_000_000)

        written.add_done_callback(observe)
        self._metrics.in_flight.set(len(self._writer))
        await self._progress.add(written, [(each.mark, each.record.offset) for each in portion if each.mark])
        # an event may match thousands: as many of the next ones as lead to about so much
        each_leads_to = max(1, written_records // len(portion))
        self._portion_records = max(1, min(PORTION_RECORDS, PORTION_WRITES // each_leads_to))

    async def _give_turns(self) -> None:
        """Let others have turns of the loop. Handing over waits for nothing as long as there is room."""
        spent_s = self._clock() - self._turns_given_at_s
        for _ in range(1 + min(TURNS_MAX, int(spent_s / TURN_FOR_S))):
            await asyncio.sleep(0)
        self._turns_given_at_s = self._clock()

    def _draw(self, ahead: ReadAhead, portion: list[Waiting]) -> Iterator[EventRecord]:
        """The records of a portion, taken as they are asked for, until they are many or it has taken long."""
        begun_at_s = now_s = self._work_clock()
        while len(portion) < self._portion_records and now_s - begun_at_s < PORTION_S:
            waiting = ahead.take()
            if waiting is None:
                return
            portion.append(waiting)
            yield waiting.record
            # asked for the next one, all that this one leads to is handed over
            taken_at_s, now_s = now_s, self._work_clock()
            ahead.charge(waiting.record.key, now_s - taken_at_s)
