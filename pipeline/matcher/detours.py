"""Partitions of which aiokafka fetches nothing for a while: what comes next there is read by the log's bytes.

A batch that does not fit may be damaged, and a damaged header misleads the broker: it no longer finds good batches
behind it, and gives others, or none, for their offsets. What is read here is handed to aiokafka as if it had fetched
it, so that everything behind it (pauses, positions, rebalances) stays as it is.
"""

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

import structlog
from faust.types import TP

from pipeline.aside import Aside
from pipeline.config import KafkaConfig
from pipeline.kafka.damage.way import Stretch, Way, Ways
from pipeline.kafka.read_faults import ReadFault
from pipeline.matcher.consumer import Consumer

# One good batch behind what is damaged: then it is asked whether the broker finds what follows.
AHEAD_BYTES = 1
POLL_S = 0.02
AGAIN_AFTER_S = 0.2
SILENT_AGAIN_AFTER_S = 1.0

T = TypeVar("T")

log = structlog.get_logger()


class Detour:
    """A partition that is read by the log's bytes, past what the client cannot fetch.

    `position`: the client's, once it has taken the records that were handed on.
    """

    __slots__ = ("fault", "is_last", "position", "way")

    def __init__(self, position: int, way: Way) -> None:
        self.position = position
        self.way = way
        self.fault: ReadFault | None = None
        self.is_last = False


class Detours:
    """The detours of one consumer's partitions."""

    def __init__(self, config: KafkaConfig, *, reads_traces: bool) -> None:
        self._config = config
        self._reads_traces = reads_traces
        self._aside = Aside("detours")
        self._ways: Ways | None = None  # of that thread
        self._detours: dict[TP, Detour] = {}
        self._waits: dict[TP, str] = {}  # partitions of which the broker says nothing, and why
        self._again_at_s: dict[TP, float] = {}  # those that are not asked before, monotonic

    def check(self) -> str | None:
        """Health: None, or why partitions are not read."""
        return "; ".join(self._waits.values()) or None

    async def run(self, consumer: Consumer) -> None:
        """Runs for ever: partitions that are held are read until their client can go on."""
        while True:
            await consumer.is_holding.wait()
            now_s = time.monotonic()
            self._again_at_s = {tp: at_s for tp, at_s in self._again_at_s.items() if at_s > now_s}
            for tp in consumer.held - self._again_at_s.keys():
                try:
                    await self._go_on(consumer, tp)
                    self._waits.pop(tp, None)
                except TimeoutError as error:  # asked again
                    self._waits[tp] = str(error)
                    self._again_at_s[tp] = time.monotonic() + SILENT_AGAIN_AFTER_S
                    log.warning("detour_waits", topic=tp.topic, partition=tp.partition, reason=str(error))
            self._waits = {tp: reason for tp, reason in self._waits.items() if tp in consumer.held}
            await asyncio.sleep(POLL_S)

    async def _go_on(self, consumer: Consumer, tp: TP) -> None:
        if consumer.has_fetched(tp):
            return  # it is taken when there is room
        position = consumer.list_positions().get(tp)
        detour = self._detours.get(tp)
        if position is None or (detour is not None and detour.position != position):
            self._leave(consumer, tp)  # it was taken away, or reading went elsewhere
        elif detour is None:
            await self._begin(consumer, tp, position)
        elif detour.fault is not None:
            fault, detour.fault = detour.fault, None
            detour.position = fault.end
            await consumer.skip(fault)
        elif detour.is_last:
            self._leave(consumer, tp)
        else:
            await self._read(consumer, tp, detour)

    async def _begin(self, consumer: Consumer, tp: TP, position: int) -> None:
        place = (tp.topic, tp.partition)
        part = await self._call(lambda: self._open_ways().find(place, position, AHEAD_BYTES, is_suspect=True))
        if part.way is None or part.begin > position:
            self._leave(consumer, tp)  # nothing is there, or its head is gone, which the log's guard finds
        else:
            self._detours[tp] = Detour(position, part.way)

    async def _read(self, consumer: Consumer, tp: TP, detour: Detour) -> None:
        stretch: Stretch = await self._call(detour.way.read_on)
        detour.fault, detour.is_last = stretch.fault, stretch.is_last
        if stretch.records:
            before, detour.position = detour.position, stretch.records[-1].offset + 1
            consumer.hand(tp, before, stretch.records)
        elif stretch.fault is None and not stretch.is_last:
            await asyncio.sleep(AGAIN_AFTER_S)  # the log has no more at present

    def _leave(self, consumer: Consumer, tp: TP) -> None:
        self._detours.pop(tp, None)
        consumer.let_go(tp)

    async def _call(self, function: Callable[[], T]) -> T:
        return await asyncio.wrap_future(self._aside.call(function))

    def _open_ways(self) -> Ways:
        if self._ways is None:
            self._ways = Ways(self._config, reads_traces=self._reads_traces)
        return self._ways

    def close(self) -> None:
        """Look at nothing more."""
        self._aside.call(self._close_ways)
        self._aside.close()

    def _close_ways(self) -> None:
        if self._ways is not None:
            self._ways.close()
