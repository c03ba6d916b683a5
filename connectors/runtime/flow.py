"""The way of a record through a process: admit → lane → put → settle. Partitions and commits live in `runtime`.

Nothing here ever waits for one record on behalf of another: what a lane may not hold is parked at once.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import structlog

from connectors.runtime.partition import Partition, Work
from connectors.sink import LogRecord, Sink
from pipeline.core.budget import Application, Budget, Standing
from pipeline.core.lanes import NO_JAM, Gate, Jam, Lanes
from pipeline.core.parked_pace import ParkedPace
from pipeline.kafka.log_clock import monotonic_us

# A record that is due within this waits here; one that is due later waits in Kafka.
HOLD_MAX_US = 1_000_000
# Parking costs 40 µs a record, looking which lane has room 8 µs: what is to be parked waits until the loop has looked
# at everything that was read, and is written in pieces of so many. Parked at once, 10,000 records of one application
# in the log held up those of others behind them by 0.6 s.
PARK_AT_ONCE = 20
# Reading that stops for longer is no sign of a process at its limit, which goes on within moments, but of lanes that
# take their time: then no application may fill the process, and what comes next in the log is looked at.
FULL_MAX_S = 1.0
FILL_AGAIN_US = 60_000_000

log = structlog.get_logger()


class Flow:
    """All records that a sink has been given and that are not settled."""

    def __init__(
        self,
        sink: Sink,
        *,
        budget: Budget,
        open_max: int,
        batch_max: int,
        parked_rate_min_per_s: float,
        release: Callable[[LogRecord], None],
        fail: Callable[[BaseException], None],
        clock_us: Callable[[], int],
    ) -> None:
        """`release`: a record is done with; `fail`: what went wrong ends the process."""
        self._sink = sink
        self._clock_us = clock_us
        self._release = release
        self._fail = fail
        self._budget = budget
        self._open_max = open_max
        self._open = 0
        self._lanes: Lanes[Work] = Lanes(sink.gate, find_group=self._find_application, batch_max=batch_max)
        self._may_fill_at_us = 0
        self._to_trim: deque[Hashable] = deque()  # lanes that hold more than they may
        self._to_park: deque[tuple[Work, Jam]] = deque()
        self._next_start: asyncio.TimerHandle | None = None
        self._busy_gates: dict[Hashable, tuple[Gate, int]] = {}  # with how many are open
        self._tasks: dict[asyncio.Task[None], list[Work]] = {}
        self._progress = asyncio.Event()  # set whenever something was settled
        self._is_stopping = False
        self.parked_pace = ParkedPace(rate_min_per_s=parked_rate_min_per_s)
        self.settled_at_s = time.monotonic()
        self.started_at_s = time.monotonic()  # when something was started, or there was nothing to start

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

    def waits_for_s(self) -> float:
        """For how long work could have been started, and none was."""
        return time.monotonic() - self.started_at_s if self._lanes.has_runnable else 0.0

    def admit(self, work: Work, now_us: int) -> None:
        """Take a record in. What may start is started by `start`. `now_us`: wall time."""
        due_at_us = self._sink.due_at_us(work.record)
        wait_us = due_at_us - now_us
        if wait_us > HOLD_MAX_US:
            self._park(work, NO_JAM)
            return
        key, at_us = self._sink.lane(work.record), monotonic_us()
        if not self._take_in(work, key, at_us):
            self._park(work, self._lanes.describe_jam(key, at_us))
        elif wait_us > 0:
            self._hold(work, due_at_us, wait_us)
        else:
            self._line_up(work, at_us)

    def start(self) -> None:
        """Start whatever may be started now."""
        at_us = monotonic_us()
        while self._open < self._open_max:
            wait_us = self.parked_pace.wait_us(at_us) if self._lanes.has_parked else 0
            taken = self._lanes.take(
                at_us, may_open=self._may_open, has_place=self._budget.has_place, with_parked=not wait_us
            )
            if taken is None:
                if wait_us:
                    self._start_again_after(wait_us)
                return
            self.started_at_s = at_us / 1_000_000
            for _ in range(taken.parked):
                self.parked_pace.start()
            self._start(taken.gate, taken.key, taken.items, at_us)

    def tick(self, passed_s: float, *, full_for_s: float) -> None:
        """To be called regularly; `passed_s`: since the last time, `full_for_s`: since reading has stopped."""
        at_us = monotonic_us()
        if full_for_s > FULL_MAX_S:
            self._may_fill_at_us = at_us + FILL_AGAIN_US
        self._budget.may_fill = at_us >= self._may_fill_at_us
        for key, (gate, _) in self._busy_gates.items():
            self._bring_up_to_date(key, gate, at_us)
        self._budget.observe()
        self.parked_pace.adjust(at_us, passed_s)
        self.start()
        if not self._lanes.has_runnable:
            self.started_at_s = at_us / 1_000_000

    def rotate(self) -> None:
        """Forget which lanes had work before the last call; to be called every few seconds."""
        self._lanes.rotate()
        self._budget.rotate()

    # Giving partitions away.

    def stop(self) -> None:
        """Start nothing of what comes due from now on."""
        self._is_stopping = True

    def drop(self, partitions: Sequence[Partition]) -> None:
        """Forget what waits of these partitions."""
        for work in self._lanes.drop(lambda work: work.partition in partitions):
            self._forget(work)
        to_park, self._to_park = self._to_park, deque()
        for work, jam in to_park:
            if work.partition in partitions:
                self._forget(work)
            else:
                self._to_park.append((work, jam))

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

    def _take_in(self, work: Work, key: Hashable, at_us: int) -> bool:
        owner = self._sink.owner(key)
        if owner is None:
            return True
        standing = self._sink.gate(key).standing(self._lanes.length(key), at_us)
        account = self._budget.find(key, owner, standing)
        if not self._budget.admits(account):
            return False
        self._budget.take(account, work.size_bytes)
        work.account = account
        return True

    def _give_back(self, work: Work) -> None:
        if work.account is not None:
            self._budget.give_back(work.account, work.size_bytes)
            work.account = None

    def _forget(self, work: Work) -> None:
        self._give_back(work)
        self._release(work.record)

    def _hold(self, work: Work, due_at_us: int, wait_us: int) -> None:
        # at most so long, whatever the clock was when the record was written
        asyncio.get_running_loop().call_later(min(wait_us, HOLD_MAX_US) / 1_000_000, self._admit_held, work, due_at_us)

    def _admit_held(self, work: Work, due_at_us: int) -> None:
        wait_us = due_at_us - self._clock_us()
        if 0 < wait_us <= HOLD_MAX_US:
            # timers have a resolution of a millisecond and may be early by as much
            self._hold(work, due_at_us, max(wait_us, 1000))
            return
        if not work.partition.is_ours or self._is_stopping:
            self._forget(work)
            return
        try:
            self._line_up(work, monotonic_us())
            self.start()
        except Exception as error:
            self._fail(error)

    def _line_up(self, work: Work, at_us: int) -> None:
        key = self._sink.lane(work.record)
        if not self._lanes.offer(key, work, at_us, self._sink.rank(work.record)):
            self._park(work, self._lanes.describe_jam(key, at_us))

    def _park(self, work: Work, jam: Jam) -> None:
        self._give_back(work)
        self._to_park.append((work, jam))
        if len(self._to_park) == 1:
            asyncio.get_running_loop().call_soon(self._park_some)

    def _park_some(self) -> None:
        try:
            for _ in range(min(PARK_AT_ONCE, len(self._to_park))):
                work, jam = self._to_park.popleft()
                self._settle_after(self._sink.put_away(work.record, jam, self._clock_us()), [work])
            if self._to_park:
                asyncio.get_running_loop().call_soon(self._park_some)
        except Exception as error:
            self._fail(error)

    # Shares.

    def _find_application(self, key: Hashable) -> Application | None:
        account = self._budget.look_up(key)
        return None if account is None else account.application

    def _may_open(self, application: Hashable, standing: Standing) -> bool:
        return not isinstance(application, Application) or self._budget.may_open(application, standing)

    def _bring_up_to_date(self, key: Hashable, gate: Gate, at_us: int) -> None:
        account = self._budget.look_up(key)
        if account is None:
            return
        self._budget.update(account, gate.standing(self._lanes.length(key), at_us))
        if self._budget.is_over(account) and self._lanes.length(key):
            self._to_trim.append(key)
            if len(self._to_trim) == 1:
                asyncio.get_running_loop().call_soon(self._trim_some)

    def _trim_some(self) -> None:
        """Park what lanes hold beyond their share since they became slow."""
        try:
            for _ in range(PARK_AT_ONCE):
                if not self._to_trim:
                    return
                key = self._to_trim[0]
                account = self._budget.look_up(key)
                work = self._lanes.trim(key) if account is not None and self._budget.is_over(account) else None
                if work is None:
                    self._to_trim.popleft()
                else:
                    self._park(work, self._lanes.describe_jam(key, monotonic_us()))
            asyncio.get_running_loop().call_soon(self._trim_some)
        except Exception as error:
            self._fail(error)

    # Out of it.

    def _start_again_after(self, wait_us: int) -> None:
        if self._next_start is None:
            self._next_start = asyncio.get_running_loop().call_later(wait_us / 1_000_000, self._start_again)

    def _start_again(self) -> None:
        self._next_start = None
        try:
            self.start()
        except Exception as error:
            self._fail(error)

    def _start(self, gate: Gate, key: Hashable, works: list[Work], at_us: int) -> None:
        self._open += 1
        _, count = self._busy_gates.get(key, (gate, 0))
        self._busy_gates[key] = (gate, count + 1)
        account = self._budget.look_up(key)
        if account is not None:
            self._budget.update(account, gate.standing(self._lanes.length(key), at_us))
            self._budget.open(account)
        for work in works:
            work.partition.open += 1
        task = asyncio.create_task(self._put(gate, key, works))
        self._tasks[task] = works

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
            self.start()
        else:
            self._settle_after(settled, works, gate=gate, key=key)

    def _put_back(self, key: Hashable, works: list[Work]) -> None:
        """One `put` holds records of several partitions, and a rebalance cancels it for the sake of some of them: the
        others' would never be put again, while what comes behind them is."""
        kept = [work for work in works if work.partition.is_ours] if not self._is_stopping else []
        self._close(works if not kept else [work for work in works if not work.partition.is_ours])
        at_us = monotonic_us()
        for work in reversed(kept):
            work.partition.open -= 1
            self._lanes.put_back(key, work, at_us, self._sink.rank(work.record))
        if kept:
            self.start()

    def _end(self, gate: Gate, key: Hashable) -> None:
        at_us = monotonic_us()
        self._open -= 1
        _, count = self._busy_gates.pop(key)
        if count > 1:
            self._busy_gates[key] = (gate, count - 1)
        gate.end(at_us)
        account = self._budget.look_up(key)  # its record is settled after this
        if account is not None:
            self._budget.close(account)
            self._bring_up_to_date(key, gate, at_us)
        if gate.accepts(0, at_us):
            self._lanes.refresh(key, at_us)
            return
        # the gate has closed: what waits behind it waits elsewhere
        for work in self._lanes.evict(key):
            self._park(work, NO_JAM)

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
                    self.start()
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
            self._forget(work)
        self._progress.set()
