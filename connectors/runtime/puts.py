"""Work that is open: from its lane into the sink's `put`, until it is settled."""

import asyncio
from collections.abc import Hashable, Sequence
from typing import Any

from connectors.runtime.parker import Parker
from connectors.runtime.partition import Partition, Work
from connectors.runtime.settling import Settling
from connectors.runtime.shares import Shares
from connectors.runtime.starts import Starts
from connectors.sink import Sink
from pipeline.clock import monotonic_us
from pipeline.core.lanes.lane import NO_JAM, Gate
from pipeline.core.lanes.lanes import Lanes
from pipeline.core.lanes.parked_pace import ParkedPace


class Puts:
    """Bounds calls of `put`: `open_max` at once.

    A place is held until its records are settled, so that no more is repeated after a kill than might be open.
    """

    def __init__(
        self,
        sink: Sink,
        lanes: Lanes[Work],
        shares: Shares,
        settling: Settling,
        parker: Parker,
        *,
        open_max: int,
        pace: ParkedPace,
    ) -> None:
        self._sink = sink
        self._lanes = lanes
        self._shares = shares
        self._settling = settling
        self._parker = parker
        self._open_max = open_max
        self._open = 0
        self._busy_gates: dict[Hashable, tuple[Gate, int]] = {}  # with how many are open
        self._tasks: dict[asyncio.Task[None], list[Work]] = {}
        self.starts = Starts(lanes, shares, pace, self.start_or_fail)
        self.is_stopping = False

    @property
    def is_busy(self) -> bool:
        """Is the sink putting anything?"""
        return bool(self._tasks)

    def start(self) -> None:
        """Start whatever may be started now."""
        at_us = monotonic_us()
        while self._open < self._open_max:
            taken = self.starts.take(at_us)
            if taken is None:
                return
            self._start(taken.gate, taken.key, taken.items, at_us)

    def start_or_fail(self) -> None:
        """Start from a timer: an error ends the process."""
        try:
            self.start()
        except Exception as error:
            self._settling.fail(error)

    def update_gates(self, at_us: int) -> None:
        """Find lanes that have become slow, and hold more than a slow one may; to be called regularly."""
        for key, (gate, _) in self._busy_gates.items():
            if self._shares.update(gate, key, at_us):
                self._parker.trim_soon(key)

    def abort(self, partitions: Sequence[Partition]) -> None:
        """Cancel the open records of these partitions: their next owner reads them again.

        Tasks that have not begun see that the partitions are not ours.
        """
        for task, works in list(self._tasks.items()):
            if any(work.partition in partitions for work in works):
                task.cancel()

    def _start(self, gate: Gate, key: Hashable, works: list[Work], at_us: int) -> None:
        self._open += 1
        _, count = self._busy_gates.get(key, (gate, 0))
        self._busy_gates[key] = (gate, count + 1)
        self._shares.open(gate, key, at_us)
        for work in works:
            work.partition.open += 1
        asyncio.create_task(self._put(gate, key, works))  # noqa: RUF006 - it is kept as soon as it has begun

    async def _put(self, gate: Gate, key: Hashable, works: list[Work]) -> None:
        task = asyncio.current_task()
        if task is None or not all(work.partition.is_ours for work in works):
            # a partition went before the task had begun: cancelled then, it would run nothing of this
            self._end(gate, key)
            self._put_back(key, works)
            return
        self._tasks[task] = works
        try:
            settled = await self._sink.put([work.incoming.work for work in works])
        except asyncio.CancelledError:
            self._end(gate, key)
            self._put_back(key, works)
            raise
        except Exception as error:
            self._settling.fail(error)
            return
        finally:
            del self._tasks[task]
        if settled is None:
            self._end(gate, key)
            self._settling.settle(works)
            self.start()
        else:
            self._settle_after(settled, gate, key, works)

    def _put_back(self, key: Hashable, works: list[Work]) -> None:
        """One `put` holds records of several partitions, or shares the outcome of another one, and a rebalance cancels
        it for the sake of some of them: the others' would never be put again, while later records of their partitions
        are."""
        kept = [work for work in works if work.partition.is_ours] if not self.is_stopping else []
        self._settling.close(works if not kept else [work for work in works if not work.partition.is_ours])
        at_us = monotonic_us()
        for work in reversed(kept):
            work.partition.open -= 1
            self._lanes.put_back(key, work, at_us, work.incoming.rank)
        if kept:
            self.start()

    def _settle_after(self, future: "asyncio.Future[Any]", gate: Gate, key: Hashable, works: list[Work]) -> None:
        def on_done(done: "asyncio.Future[Any]") -> None:
            try:
                self._end(gate, key)
                if done.cancelled():
                    self._put_back(key, works)
                elif (error := done.exception()) is not None:
                    self._settling.fail(error)
                else:
                    self._settling.settle(works)
                self.start()
            except Exception as error:
                self._settling.fail(error)

        future.add_done_callback(on_done)

    def _end(self, gate: Gate, key: Hashable) -> None:
        at_us = monotonic_us()
        self._open -= 1
        _, count = self._busy_gates.pop(key)
        if count > 1:
            self._busy_gates[key] = (gate, count - 1)
        gate.end(at_us)
        if self._shares.close(gate, key, at_us):
            self._parker.trim_soon(key)
        if gate.accepts(0, at_us):
            self._lanes.refresh(key, at_us)
            return
        # the gate has closed: what waits behind it waits elsewhere
        for work in self._lanes.evict(key):
            self._parker.park(work, NO_JAM)
