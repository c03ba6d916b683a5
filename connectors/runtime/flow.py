"""The way of a record through a process: admit → lane → put → settle. Partitions and commits live in `runtime`.

No record waits for another one: a record that its lane may not hold is parked.
"""

import asyncio
from collections.abc import Callable, Hashable, Sequence

from connectors.runtime.parker import Parker
from connectors.runtime.partition import Partition, Work
from connectors.runtime.puts import Puts
from connectors.runtime.returns import Returns
from connectors.runtime.settling import Settling
from connectors.runtime.shares import Shares
from connectors.sink import LogRecord, Parking, Sink
from pipeline.clock import monotonic_us
from pipeline.core.lanes.budget import Application, Budget
from pipeline.core.lanes.lane import NO_JAM, Rank
from pipeline.core.lanes.lanes import Lanes
from pipeline.core.lanes.parked_pace import ParkedPace
from pipeline.topics import Topic

# A record that is due within this waits here; one that is due later waits in Kafka.
HOLD_MAX_US = 1_000_000


class Flow:
    """All records that a sink has been given and that are not settled."""

    def __init__(
        self,
        sink: Sink,
        *,
        parking: Parking | None,
        budget: Budget,
        open_max: int,
        batch_max: int,
        parked_rate_min_per_s: float,
        release: Callable[[LogRecord], None],
        fail: Callable[[BaseException], None],
        clock_us: Callable[[], int],
        retry_topics: Sequence[Topic] = (),
    ) -> None:
        """`release`: a record is done with; `fail`: this error ends the process."""

        def find_application(key: Hashable) -> Application | None:
            account = budget.look_up(key)
            return None if account is None else account.application

        self._sink = sink
        self._parking = parking
        self._clock_us = clock_us
        self._lanes: Lanes[Work] = Lanes(sink.gate, find_group=find_application, batch_max=batch_max)
        self._shares = Shares(budget, self._lanes, sink.gate, parking)
        self._settling = Settling(self._shares, release=release, fail=fail)
        self.parked_pace = ParkedPace(rate_min_per_s=parked_rate_min_per_s)
        self.returns = Returns(retry_topics, clock_us)
        self._parker = Parker(parking, self._lanes, self._shares, self._settling, clock_us, pace=self.parked_pace)
        self._puts = Puts(
            sink, self._lanes, self._shares, self._settling, self._parker, open_max=open_max, pace=self.parked_pace
        )

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
        return self._puts.is_busy

    @property
    def is_stopping(self) -> bool:
        """Has the end of the process begun?"""
        return self._puts.is_stopping

    @property
    def settled_at_s(self) -> float:
        """The time of the last settled record, by the monotonic clock."""
        return self._settling.settled_at_s

    def waits_for_s(self) -> float:
        """Seconds for which work could have been started, and none was."""
        return self._puts.starts.waits_for_s()

    def admit(self, record: LogRecord, partition: Partition, now_us: int) -> None:
        """Take a record in; `start` then starts it. `now_us`: wall time."""
        incoming = self._sink.classify(record)
        if incoming.rank is Rank.PARKED and self._parking is not None:
            self._parking.came_back(incoming)
        work = Work(record, partition, incoming)
        wait_us = incoming.due_at_us - now_us
        if wait_us > HOLD_MAX_US:
            self._parker.park(work, NO_JAM)
            return
        at_us = monotonic_us()
        if not self._shares.take_in(work, at_us):
            self._parker.park_behind(work, at_us)
        elif wait_us > 0:
            self._hold(work, wait_us)
        else:
            self._line_up(work, at_us)

    def start(self) -> None:
        """Start whatever may be started now."""
        self._puts.start()

    def tick(self, passed_s: float, *, full_for_s: float) -> None:
        """Adjust gates, shares and paces, and start due work. Call it regularly.

        `passed_s`: since the last call, `full_for_s`: since reading has stopped.
        """
        at_us = monotonic_us()
        self._shares.allow_filling(at_us, full_for_s)
        self._puts.update_gates(at_us)
        self._shares.observe()
        self.parked_pace.adjust(at_us, passed_s)
        self.returns.tick(passed_s)
        self._puts.start()
        self._puts.starts.note_idle(at_us)

    def rotate(self) -> None:
        """Forget which lanes had work before the last call; to be called every few seconds."""
        self._lanes.rotate()
        self._shares.rotate()

    # Giving partitions away.

    def stop(self) -> None:
        """Start no held record that becomes due from now on."""
        self._puts.is_stopping = True

    def drop(self, partitions: Sequence[Partition]) -> None:
        """Forget the waiting records of these partitions, and start none of theirs any more."""
        for partition in partitions:
            partition.is_ours = False
        for work in self._lanes.drop(lambda work: work.partition in partitions):
            self._settling.forget(work)
        self._parker.drop(partitions)

    async def drain(self, partitions: Sequence[Partition], grace_s: float) -> None:
        """Wait until no record of these partitions is open; those still open after `grace_s` are aborted."""
        if not await self._settling.wait_closed(partitions, grace_s):
            self.abort(partitions)
            await asyncio.sleep(0)  # lets cancelled calls of `put` end

    def abort(self, partitions: Sequence[Partition]) -> None:
        """Cancel open records of dropped partitions: their next owner repeats these, this process those of others."""
        self._puts.abort(partitions)

    # Into a lane.

    def _hold(self, work: Work, wait_us: int) -> None:
        # at most so long, whatever the clock was when the record was written
        asyncio.get_running_loop().call_later(min(wait_us, HOLD_MAX_US) / 1_000_000, self._admit_held, work)

    def _admit_held(self, work: Work) -> None:
        wait_us = work.incoming.due_at_us - self._clock_us()
        if 0 < wait_us <= HOLD_MAX_US:
            # timers have a resolution of a millisecond and may be early by as much
            self._hold(work, max(wait_us, 1000))
            return
        if not work.partition.is_ours or self._puts.is_stopping:
            self._settling.forget(work)
            return
        try:
            self._line_up(work, monotonic_us())
            self._puts.start()
        except Exception as error:
            self._settling.fail(error)

    def _line_up(self, work: Work, at_us: int) -> None:
        key = work.incoming.lane
        if not self._lanes.offer(key, work, at_us, work.incoming.rank):
            self._parker.park_behind(work, at_us)
