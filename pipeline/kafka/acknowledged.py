"""Detects the loss of acknowledged records: the log then gives out an offset for a second time."""

from collections.abc import Collection
from typing import Protocol

import structlog

from pipeline.kafka.record import Place
from pipeline.metrics import Metrics
from pipeline.topics import Topic

log = structlog.get_logger()


class Ends(Protocol):
    """Where partitions end."""

    async def end_offset(self, topic: Topic, partition: int) -> int:
        """The offset the next record will get. Raises `TimeoutError` when Kafka does not answer."""


class Acknowledged:
    """The newest acknowledged offset of each partition."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._newest: dict[Place, int] = {}
        self._lost_from: set[str] = set()  # names of topics that have lost something, until that is taken

    def note(self, place: Place, offset: int) -> None:
        """A record was acknowledged, after all that were noted of this partition before."""
        newest = self._newest.get(place, -1)
        self._newest[place] = offset
        if offset <= newest:
            self._tell(place, offset, newest + 1 - offset)

    async def take_lost(self, topics: Collection[Topic], ends: Ends) -> bool:
        """Have these topics lost anything since this was last asked? Looks where they end now."""
        for topic in topics:
            for (name, partition), newest in list(self._newest.items()):
                if name != topic.name:
                    continue
                try:
                    end = await ends.end_offset(topic, partition)
                except TimeoutError:
                    continue  # asked again
                if end <= newest == self._newest[name, partition]:
                    self._newest[name, partition] = end - 1
                    self._tell((name, partition), end, newest + 1 - end)
        names = {topic.name for topic in topics}
        has_lost = bool(self._lost_from & names)
        self._lost_from -= names
        return has_lost

    def _tell(self, place: Place, offset: int, lost: int) -> None:
        topic, partition = place
        self._metrics.lost_offsets_total.labels(topic, "writer").inc(lost)
        self._lost_from.add(topic)
        log.error("acknowledged_lost", topic=topic, partition=partition, lost=lost, begins_at=offset)
