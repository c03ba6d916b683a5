"""The page of metrics, made without holding up the loop.

A gateway's has 2,000 lines, which take 12 ms: at one scrape a second one request in a hundred waited for them. Samples
are taken in pieces, a metric at a time, so that each is as it was at one moment; their text is made in a thread.
"""

import asyncio
from collections.abc import Iterable, Sequence

from prometheus_client import Metric, generate_latest
from prometheus_client.registry import Collector

from pipeline.aside import Aside
from pipeline.pauses import Pauses


class MetricsPage:
    """Makes the page of one registry."""

    def __init__(self, registry: Collector) -> None:
        self._registry = registry
        self._aside = Aside("metrics")

    async def render(self) -> bytes:
        """All metrics in Prometheus' text format."""
        pauses, taken = Pauses(), []
        for metric in self._registry.collect():
            taken.append(metric)
            await pauses.take()
        return await asyncio.wrap_future(self._aside.call(lambda: generate_latest(Taken(taken))))

    def close(self) -> None:
        """End the thread."""
        self._aside.close()


class Taken(Collector):
    """Metrics that were taken from a registry."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics
