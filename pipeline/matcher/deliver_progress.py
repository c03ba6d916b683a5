"""Looks at how much of the deliveries topic deliver has settled, while there is much that may not be."""

import asyncio
import time
from collections import deque
from collections.abc import Callable

import structlog

from pipeline.aside import Aside
from pipeline.config import KafkaConfig
from pipeline.kafka.settled import Progress, SettledOffsets
from pipeline.matcher.looks import Look, Looks
from pipeline.matcher.outstanding import Outstanding
from pipeline.start_error import StartError
from pipeline.topics import Topic

LOOK_INTERVAL_S = 0.25
FAILED_INTERVAL_S = 5.0
SPEED_S = 2.0  # commits come twice a second: over so long the speed of settling is measured

log = structlog.get_logger()


class DeliverProgress:
    """Keeps `outstanding` up to date while `run` runs."""

    def __init__(self, config: KafkaConfig, topic: Topic, *, bound_min: int, count_on_way: Callable[[], int]) -> None:
        """`count_on_way`: records that were written and are not in the log yet."""
        self._config = config
        self._topic = topic
        self._count_on_way = count_on_way
        self._many = asyncio.Event()
        self.outstanding = Outstanding(bound_min=bound_min, on_many=self._many.set)
        self._aside = Aside("deliver-progress")
        self._offsets: SettledOffsets | None = None  # until there is something to ask
        self._looks = Looks()
        self._seen: deque[tuple[float, int]] = deque()  # seconds, and what was settled then
        self._has_failed = False

    async def run(self) -> None:
        """Runs for ever."""
        while True:
            await self._many.wait()
            self._many.clear()
            await asyncio.sleep(LOOK_INTERVAL_S if await self._look() else FAILED_INTERVAL_S)
            if self.outstanding.are_many:
                self._many.set()

    def close(self) -> None:
        """Disconnect. Does not wait for it."""
        if self._offsets is not None:
            self._aside.call(self._offsets.close)
        self._aside.close()

    async def _look(self) -> bool:
        taken, on_way = self.outstanding.taken, self._count_on_way()
        try:
            progress = await asyncio.wrap_future(self._aside.call(self._ask))
        except StartError as error:
            if not self._has_failed:
                log.warning("deliver_progress_unknown", reason=str(error))
            self._has_failed = True
            # counted from here: an application goes on to have its share there, and not less and less
            self.outstanding.settle(taken, 0)
            self.outstanding.adapt(0.0)
            return False
        self._has_failed = False
        self._looks.add(Look(taken, on_way, progress.ends))
        self._looks.settle(self.outstanding, progress)
        self.outstanding.adapt(self._measure_speed(progress.count_settled()))
        return True

    def _ask(self) -> Progress:
        if self._offsets is None:
            self._offsets = SettledOffsets(self._config, f"{self._config.topic_prefix}deliver")
        return self._offsets.measure(self._topic)

    def _measure_speed(self, settled: int) -> float:
        """Records settled a second."""
        now_s = time.monotonic()
        self._seen.append((now_s, settled))
        while len(self._seen) > 2 and now_s - self._seen[1][0] >= SPEED_S:
            self._seen.popleft()
        first_s, first = self._seen[0]
        return max(0.0, (settled - first) / (now_s - first_s)) if now_s > first_s else 0.0
