"""Counting regularly, in one of the archive processes: the one that holds an advisory lock of PostgreSQL."""

import asyncio

import structlog

from pipeline.config import ArchiveConfig, DatabaseConfig, KafkaConfig
from pipeline.ledger.count import Counter, NotSettledError, Result
from pipeline.metrics import Metrics
from pipeline.postgres.archive.connection import Connection, open_long_connection
from pipeline.postgres.archive.ledger_counts import try_watch_lock
from pipeline.postgres.pool import DatabaseUnavailable
from pipeline.start_error import StartError
from pipeline.topics import Topics

WAIT_S = 60.0
FIRST_AFTER_S = 30.0  # a start has other things to do
# A count takes no more than this share of the time, however large the archive is.
SHARE_MAX = 0.05
CLOSED_DAYS_KEPT_S = 86_400.0

log = structlog.get_logger()


class LedgerWatch:
    """Shows unaccounted events and deliveries as metrics; zero in processes that do not hold the lock."""

    def __init__(
        self, kafka: KafkaConfig, database: DatabaseConfig, config: ArchiveConfig, topics: Topics, metrics: Metrics
    ) -> None:
        self._counter = Counter(kafka, topics, closed_days_kept_s=CLOSED_DAYS_KEPT_S)
        self._database = database
        self._interval_s = config.ledger_interval_s
        self._metrics = metrics

    async def run(self) -> None:
        """Runs for ever; for nothing if the interval is 0. What fails is tried again."""
        await asyncio.sleep(min(self._interval_s, FIRST_AFTER_S))
        while self._interval_s:
            try:
                async with await open_long_connection(self._database) as connection:
                    await self._count_for_ever(connection)
            except (*DatabaseUnavailable, StartError, TimeoutError) as error:
                log.warning("ledger_waits", reason=str(error).strip().partition("\n")[0])
            except Exception:  # whatever it is: the archive goes on, and LedgerNotCounted tells
                log.exception("ledger_failed")
            self._forget()
            await asyncio.sleep(self._interval_s)

    async def _count_for_ever(self, connection: Connection) -> None:
        is_ours = False
        while True:
            seconds = 0.0
            is_ours = is_ours or await try_watch_lock(connection)
            if is_ours:
                try:
                    result = await self._counter.count(connection, wait_s=WAIT_S)
                    self._show(result)
                    seconds = result.seconds
                except NotSettledError as error:
                    log.warning("ledger_waits", reason=str(error))
            await asyncio.sleep(max(self._interval_s, seconds / SHARE_MAX))

    def _show(self, result: Result) -> None:
        total, metrics = result.total, self._metrics
        metrics.unaccounted_deliveries.set(total.unaccounted_deliveries)
        metrics.unaccounted_events.set(total.unaccounted_events)
        metrics.ledger_counted_timestamp_seconds.set(result.counted_at_s)
        metrics.ledger_seconds.set(result.seconds)
        for missing in result.missing:
            log.error(
                "unaccounted",
                kind=missing.kind,
                id=missing.id,
                application_id=missing.application_id,
                event_place=missing.event_place,
            )
        log.info("ledger_counted", events=total.events, deliveries=total.deliveries, seconds=round(result.seconds, 1))

    def _forget(self) -> None:
        """Forget the figures: another process counts now."""
        for gauge in (
            self._metrics.unaccounted_deliveries,
            self._metrics.unaccounted_events,
            self._metrics.ledger_counted_timestamp_seconds,
        ):
            gauge.set(0)
