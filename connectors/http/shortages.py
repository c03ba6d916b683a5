"""Shortages of this process: how long deliveries wait, which ones are logged (not every one), and health.

A delivery that meets a shortage waits without using up an attempt.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from connectors.http.client.shortage import OWN_LOOKUPS
from pipeline.metrics import Metrics

WAIT_MIN_S, WAIT_MAX_S = 1.0, 60.0
WAIT_SHARE = 0.5  # of the time that a shortage has lasted
FORGET_S = 2 * WAIT_MAX_S
HEALTH_S = 15.0
LOG_INTERVAL_S = 10.0

log = structlog.get_logger()


@dataclass(slots=True)
class Met:
    """One kind of shortage. Times of the monotonic clock."""

    since_s: float
    last_s: float
    logged_s: float = float("-inf")
    unlogged: int = 0


class Shortages:
    """The shortages of one process, and those of one application alone (`OWN_LOOKUPS`), which concern no other."""

    def __init__(self, metrics: Metrics, *, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._metrics = metrics
        self._clock_s = clock_s
        self._met: dict[str, Met] = {}
        self._met_by_application: dict[str, Met] = {}  # the longest ago first

    def meet(self, kind: str, application_id: str) -> int:
        """A delivery met a shortage: microseconds it should wait. They grow with the time the shortage lasts."""
        now_s = self._clock_s()
        if kind == OWN_LOOKUPS:
            met = note(self._met_by_application, application_id, now_s)
            self._forget_applications(now_s)
        else:
            met = note(self._met, kind, now_s)
            self._tell(kind, met, now_s)
        wait_s = min(max(WAIT_MIN_S, WAIT_SHARE * (now_s - met.since_s)), WAIT_MAX_S)
        return round(wait_s * 1_000_000)

    def _forget_applications(self, now_s: float) -> None:
        while now_s - self._met_by_application[first := next(iter(self._met_by_application))].last_s > FORGET_S:
            del self._met_by_application[first]

    def _tell(self, kind: str, met: Met, now_s: float) -> None:
        met.unlogged += 1
        self._metrics.local_shortages_total.labels(kind).inc()
        if now_s - met.logged_s >= LOG_INTERVAL_S:
            log.error("local_shortage", kind=kind, deliveries=met.unlogged, lasts_s=round(now_s - met.since_s, 1))
            met.logged_s, met.unlogged = now_s, 0

    def check(self) -> str | None:
        """Health: None, or the shortages of the last seconds."""
        now_s = self._clock_s()
        kinds = sorted(kind for kind, met in self._met.items() if now_s - met.last_s < HEALTH_S)
        return f"deliveries wait: this process is short of {', '.join(kinds)}" if kinds else None


def note(known: dict[str, Met], name: str, now_s: float) -> Met:
    """Note that a shortage was met now, and move it to the end. After `FORGET_S` without it, it counts as a new one."""
    met = known.pop(name, None)
    if met is None or now_s - met.last_s > FORGET_S:
        met = Met(since_s=now_s, last_s=now_s)
    met.last_s = now_s
    known[name] = met
    return met
