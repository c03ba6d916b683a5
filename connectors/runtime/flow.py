"""The way of a record through a process: admit → lane → put → settle. Partitions and commits live in `runtime`.

Nothing here ever waits for one record on behalf of another.
"""

import asyncio
import time
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import structlog

from connectors.runtime.partition import Partition, Work
from connectors.sink import LogRecord, Sink
from pipeline.core.lanes import NO_JAM, Gate, Lanes
from pipeline.core.parked_pace import ParkedPace

# A record that is due within this waits here; one that is due later waits in Kafka.
HOLD_MAX_US = 1_000_000
SLOW_SHARE = 0.5  # of all that may be open at once, for lanes that are slow

log = structlog.get_logger()


class Flow:
    """All records that a sink has been given and that are not settled."""

    def __init__(
        self,
        sink: Sink,
        *,
        open_max: int,
        batch_max: int,
        parked_rate_min_per_s: float,
        release: Callable[[LogRecord], None],
        fail: Callable[[BaseException], None],
    ) -> None:
        """`release`: a record is done with; `fail`: what went wrong ends the process."""
        self._sink = sink
        self._release = release
        self._fail = fail
        self._open_max = open_max
        self._slow_max = max(1, int(open_max * SLOW_SHARE))
        self._open = 0
        self._open_slow = 0
        self._lanes: Lanes[Work] = Lanes(sink.gate, batch_max=batch_max)
        self._next_start: asyncio.TimerHandle | None = None
        self._busy_gates: dict[Hashable, tuple[Gate, int]] = {}  # with how many are open
        self._tasks: dict[asyncio.Task[None], list[Work]] = {}
        self._progress = asyncio.Event()  # set whenever something was settled
        self._is_stopping = False
        self.parked_pace = ParkedPace(rate_min_per_s=parked_rate_min_per_s)
        self.settled_at_s = time.monotonic()

    def __len__(self) -> int:
        """Lanes with waiting work."""
        return len(self._lanes)

    @property
    def waiting(self) -> int:
        """Records that wait in lanes."""
        return self._lanes.waiting

    @property
    def is_busy(self) -> bool:
        """Is the sink putting anything?"""
        return bool(self._tasks)

    def admit(self, work: Work, now_us: int) -> None:
        """Take a record in. What may start is started by `start`."""
        sink, record = self._sink, work.record
        due_at_us = sink.due_at_us(record)
        wait_us = due_at_us - now_us
        if wait_us > HOLD_MAX_US:
            self._settle_after(sink.put_away(record, NO_JAM, now_us), [work])
        elif wait_us > 0:
            self._hold(work, due_at_us, wait_us)
        else:
            self._line_up(work, now_us)

    def start(self, now_us: int) -> None:
        """Start whatever may be started now."""
        while self._open < self._open_max:
            wait_us = self.parked_pace.wait_us(now_us) if self._lanes.has_parked else 0
            taken = self._lanes.take(now_us, with_slow=self._open_slow < self._slow_max, with_parked=not wait_us)
            if taken is None:
                if wait_us:
                    self._start_again_after(wait_us)
                return
            for _ in range(taken.parked):
                self.parked_pace.start()
            gate, key, works = taken.gate, taken.key, taken.items
            self._open += 1
            _, count = self._busy_gates.get(key, (gate, 0))
            self._busy_gates[key] = (gate, count + 1)
            for work in works:
                work.partition.open += 1
            task = asyncio.create_task(self._put(gate, key, works))
            self._tasks[task] = works

    def tick(self, now_us: int, passed_s: float) -> None:
        """To be called regularly; `passed_s`: since the last time."""
        self._open_slow = sum(count for gate, count in self._busy_gates.values() if gate.is_slow(now_us))
        self.parked_pace.adjust(now_us, passed_s)
        self.start(now_us)

    def rotate(self) -> None:
        """Forget which lanes had work before the last call; to be called every few seconds."""
        self._lanes.rotate()

    # Giving partitions away.

    def stop(self) -> None:
        """Start nothing of what comes due from now on."""
        self._is_stopping = True

    def drop(self, partitions: Sequence[Partition]) -> None:
        """Forget what waits of these partitions."""
        for work in self._lanes.drop(lambda work: work.partition in partitions):
            self._release(work.record)

    async def drain(self, partitions: Sequence[Partition], grace_s: float) -> None:
        """Wait until nothing of these partitions is open; what is open after `grace_s` is aborted."""
        deadline_s = time.monotonic() + grace_s
        while any(partition.open for partition in partitions):
            self._progress.clear()
            left_s = deadline_s - time.monotonic()
            try:
                async with asyncio.timeout(max(0.0, left_s)):
                    await self._progress.wait()
            except TimeoutError:
                open_records = sum(partition.open for partition in partitions)
                log.warning("drain_timed_out", grace_s=grace_s, open_records=open_records)
                self.abort(partitions)
                await asyncio.sleep(0)
                return

    def abort(self, partitions: Sequence[Partition]) -> None:
        """What is open is repeated by the next reader of these partitions; of others, which we keep, by us."""
        for partition in partitions:
            partition.is_ours = False
        for task, works in list(self._tasks.items()):
            if any(work.partition in partitions for work in works):
                task.cancel()

    # Into a lane.

    def _hold(self, work: Work, due_at_us: int, wait_us: int) -> None:
        asyncio.get_running_loop().call_later(wait_us / 1_000_000, self._admit_held, work, due_at_us)

    def _admit_held(self, work: Work, due_at_us: int) -> None:
        now_us = time.time_ns() // 1000
        if now_us < due_at_us:
            # timers have a resolution of a millisecond and may be early by as much
            self._hold(work, due_at_us, max(due_at_us - now_us, 1000))
            return
        if not work.partition.is_ours or self._is_stopping:
            self._release(work.record)
            return
        try:
            self._line_up(work, now_us)
            self.start(now_us)
        except Exception as error:
            self._fail(error)

    def _line_up(self, work: Work, now_us: int) -> None:
        key = self._sink.lane(work.record)
        if not self._lanes.offer(key, work, now_us, self._sink.rank(work.record)):
            self._settle_after(self._sink.put_away(work.record, self._lanes.describe_jam(key, now_us), now_us), [work])

    # Out of it.

    def _start_again_after(self, wait_us: int) -> None:
        if self._next_start is None:
            self._next_start = asyncio.get_running_loop().call_later(wait_us / 1_000_000, self._start_again)

    def _start_again(self) -> None:
        self._next_start = None
        try:
            self.start(time.time_ns() // 1000)
        except Exception as error:
            self._fail(error)

    async def _put(self, gate: Gate, key: Hashable, works: list[Work]) -> None:
        task = asyncio.current_task()
        try:
            settled = await self._sink.put([work.record for work in works])
        except asyncio.CancelledError:
            self._end(gate, key)
            self._put_back(key, works)
            raise
        except Exception as error:
            self._fail(error)
            return
        finally:
            if task is not None:
                self._tasks.pop(task, None)
        if settled is None:
            self._end(gate, key)
            self._settle(works)
            self.start(time.time_ns() // 1000)
        else:
            self._settle_after(settled, works, gate=gate, key=key)

    def _put_back(self, key: Hashable, works: list[Work]) -> None:
        """One `put` holds records of several partitions, and a rebalance cancels it for the sake of some of them: the
        others' would never be put again, while what comes behind them is."""
        kept = [work for work in works if work.partition.is_ours] if not self._is_stopping else []
        self._close(works if not kept else [work for work in works if not work.partition.is_ours])
        now_us = time.time_ns() // 1000
        for work in reversed(kept):
            work.partition.open -= 1
            self._lanes.put_back(key, work, now_us, self._sink.rank(work.record))
        if kept:
            self.start(now_us)

    def _end(self, gate: Gate, key: Hashable) -> None:
        now_us = time.time_ns() // 1000
        self._open -= 1
        _, count = self._busy_gates.pop(key)
        if count > 1:
            self._busy_gates[key] = (gate, count - 1)
        gate.end(now_us)
        if gate.accepts(0, now_us):
            self._lanes.refresh(key, now_us)
            return
        # the gate has closed: what waits behind it waits elsewhere
        for work in self._lanes.evict(key):
            self._settle_after(self._sink.put_away(work.record, NO_JAM, now_us), [work])

    def _settle_after(
        self, future: "asyncio.Future[Any]", works: list[Work], *, gate: Gate | None = None, key: Hashable = None
    ) -> None:
        """`gate`, `key`: of the lane that holds its place until then; None: these never had one.

        A place is held until the record is settled, so that no more is repeated after a kill than might be open.
        """
        if gate is None:
            for work in works:
                work.partition.open += 1

        def on_done(done: "asyncio.Future[Any]") -> None:
            try:
                if gate is not None:
                    self._end(gate, key)
                if done.cancelled():
                    self._close(works)
                elif (error := done.exception()) is not None:
                    self._fail(error)
                else:
                    self._settle(works)
                if gate is not None:
                    self.start(time.time_ns() // 1000)
            except Exception as error:
                self._fail(error)

        future.add_done_callback(on_done)

    def _settle(self, works: list[Work]) -> None:
        for work in works:
            work.partition.mark.settle(work.record.offset)
        self.settled_at_s = time.monotonic()
        self._close(works)

    def _close(self, works: list[Work]) -> None:
        for work in works:
            work.partition.open -= 1
            self._release(work.record)
        self._progress.set()
