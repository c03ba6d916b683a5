"""Metrics of the consume loop: lag, its age against retention, records in flight, lanes, stalls."""

from collections.abc import Callable, Container, Mapping, Sequence

from connectors.runtime.flow import Flow
from connectors.runtime.owned import Owned
from connectors.runtime.partition import Partition
from connectors.sink import Place
from pipeline.metrics import Metrics
from pipeline.topics import Topic


class Figures:
    """Sets the gauges."""

    def __init__(
        self,
        owned: Owned,
        flow: Flow,
        metrics: Metrics,
        *,
        topics: Sequence[Topic],
        lead_names: Container[str],
        clock_us: Callable[[], int],
    ) -> None:
        self._owned = owned
        self._flow = flow
        self._metrics = metrics
        self._retentions_s = {topic.name: topic.retention_s for topic in topics if topic.retention_s}
        self._lead_names = lead_names
        self._clock_us = clock_us

    def measured(self, ends: Mapping[Place, int]) -> None:
        """Set lag and age of the owned partitions. `ends`: the next offset that each partition will write."""
        runnable = self._flow.waiting
        for place, end in ends.items():
            partition = self._owned.find(place)
            if partition is None:
                continue
            lag = max(0, end - partition.mark.committable)
            self._metrics.lag_records.labels(*place).set(lag)
            self._measure_age(partition, lag)
            if place[0] in self._lead_names:
                runnable += max(0, end - partition.mark.next_offset)
        self._metrics.runnable_lag_records.set(runnable)

    def tick(self, stalls_s: Mapping[str, float]) -> None:
        """Update the metrics. Call it regularly; `stalls_s`: by cause, see `Progress`."""
        for cause, stalled_s in stalls_s.items():
            self._metrics.stalled_seconds.labels(cause).set(stalled_s)
        self._metrics.parked_rate_per_second.set(self._flow.parked_pace.rate_per_s)
        self._metrics.return_rate_per_second.set(self._flow.returns.rate_per_s)
        self._metrics.in_flight.set(sum(len(partition.mark) for partition in self._owned))
        self._metrics.lanes.set(len(self._flow))

    def forget(self, place: Place) -> None:
        """The partition is not ours any more: another process shows its figures."""
        metrics = self._metrics
        for gauge in (metrics.lag_records, metrics.lag_seconds, metrics.retention_used_ratio):
            gauge.remove(*place)

    def _measure_age(self, partition: Partition, lag: int) -> None:
        retention_s = self._retentions_s.get(partition.place[0])
        if retention_s is None:
            return
        now_us, settled = self._clock_us(), partition.mark.committable
        if not lag:
            partition.age.catch_up(settled, now_us)
        oldest_us = partition.age.oldest_us(settled)
        used_us = max(0, now_us - oldest_us) if oldest_us is not None else 0
        self._metrics.lag_seconds.labels(*partition.place).set(used_us / 1_000_000)
        self._metrics.retention_used_ratio.labels(*partition.place).set(used_us / 1_000_000 / retention_s)
