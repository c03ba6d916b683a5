"""Was something lost that this process had been told is written? Then the log gives out an offset for a second time."""

import structlog

from pipeline.kafka.record import Place
from pipeline.metrics import Metrics

log = structlog.get_logger()


class Acknowledged:
    """The newest acknowledged offset of each partition."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._newest: dict[Place, int] = {}
        self.lost_from: set[str] = set()  # topics that have lost something; emptied by who heals that

    def note(self, place: Place, offset: int) -> None:
        """A record was acknowledged, after all that were noted of this partition before."""
        newest = self._newest.get(place, -1)
        self._newest[place] = offset
        if offset > newest:
            return
        topic, partition = place
        lost = newest + 1 - offset
        self._metrics.lost_offsets_total.labels(topic, "writer").inc(lost)
        self.lost_from.add(topic)
        log.error("acknowledged_lost", topic=topic, partition=partition, lost=lost, begins_at=offset)
