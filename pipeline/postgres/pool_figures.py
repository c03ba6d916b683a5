"""The state of a connection pool, as metrics."""

from pipeline.metrics import Metrics
from pipeline.postgres.pool import Pool


class PoolFigures:
    """Metrics of one pool; call `update` regularly."""

    def __init__(self, pool: Pool, metrics: Metrics, *, name: str) -> None:
        self._pool = pool
        self._used = metrics.database_connections.labels(name, "used")
        self._idle = metrics.database_connections.labels(name, "idle")
        self._waiting = metrics.database_requests_waiting.labels(name)
        self._wait_seconds = metrics.database_acquire_wait_seconds_total.labels(name)
        acquires = metrics.database_acquires_total
        self._acquires = {result: acquires.labels(name, result) for result in ("at_once", "waited", "failed")}

    def update(self) -> None:
        """Take over what the pool has counted since the last time."""
        counted = self._pool.pop_stats()
        size, idle = counted.get("pool_size", 0), counted.get("pool_available", 0)
        self._used.set(max(0, size - idle))
        self._idle.set(idle)
        self._waiting.set(counted.get("requests_waiting", 0))
        asked, queued = counted.get("requests_num", 0), counted.get("requests_queued", 0)
        failed = min(queued, counted.get("requests_errors", 0))
        self._acquires["at_once"].inc(max(0, asked - queued))
        self._acquires["waited"].inc(queued - failed)
        self._acquires["failed"].inc(failed)
        self._wait_seconds.inc(counted.get("requests_wait_ms", 0) / 1000)
