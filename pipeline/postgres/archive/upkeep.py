"""The care of day partitions: made ahead, taken out when they have expired, dropped when their grace is over.

Nothing leaves the archive unless the clocks agree (`pipeline.core.log.clocks`); what leaves within an hour is bounded.
"""

import asyncio
import time
from collections.abc import Callable
from datetime import timedelta

import structlog
from psycopg import Error

from pipeline.clock import wall_us
from pipeline.config import ArchiveConfig, DatabaseConfig
from pipeline.core.log.clocks import Clocks
from pipeline.core.units import SECOND_US
from pipeline.metrics import Metrics
from pipeline.postgres.archive.clocks import read_clocks
from pipeline.postgres.archive.connection import Connection, open_archive_connection
from pipeline.postgres.archive.isolation import divide_ahead
from pipeline.postgres.archive.partitions import ensure_days, list_days, list_strays
from pipeline.postgres.archive.retention import detach_expired, drop_detached, forget_companions, list_detached
from pipeline.postgres.archive.tables import TABLES, day_of

INTERVAL_S = 900.0
RETRY_S = 10.0
# A lock of a long read, or a restart of the server, fails one.
FAILURES_MIN = 3
# a clock may be set while we run: health says so within this
CLOCKS_S = 5.0
log = structlog.get_logger()


class Upkeep:
    """One instance a process. `now_us`: this host's clock."""

    def __init__(
        self,
        database: DatabaseConfig,
        config: ArchiveConfig,
        metrics: Metrics,
        *,
        now_us: Callable[[], int] = wall_us,
    ) -> None:
        self._database = database
        self._config = config
        self._metrics = metrics
        self._now_us = now_us
        self._disagreement: str | None = None
        self._waiting = 0
        self._strays: list[str] = []
        self._failure: str | None = None
        self._failures = 0

    def check(self) -> str | None:
        """Health: None, or why days are not kept, or do not leave, as they should."""
        if self._strays:
            return (
                f"{', '.join(self._strays)}: detached by hand, and in the way of partitions of the same names, without "
                "which their days' rows go to the default partitions and stay there; to be renamed or dropped"
            )
        if self._disagreement is None and self._waiting:
            return (
                f"{self._waiting} more days are older than HOOKLINE_ARCHIVE_RETENTION_DAYS than may leave within an "
                "hour (HOOKLINE_ARCHIVE_DROP_MAX_DAYS): was it lowered, or is a clock wrong?"
            )
        return self._disagreement

    def check_failures(self) -> str | None:
        """Health: None, or what the care of days fails of. Their rows go to the default partitions meanwhile."""
        if self._failures < FAILURES_MIN:
            return None
        return f"no days are made ahead, and none leaves: {self._failure}"

    async def run(self) -> None:
        """Runs for ever. What fails is tried again: until then the default partition takes the rows."""
        kept_at_s: float | None = None
        while True:
            is_due = kept_at_s is None or time.monotonic() - kept_at_s >= INTERVAL_S
            try:
                async with await open_archive_connection(self._database) as connection:
                    clocks = await self._compare(connection)
                    if is_due:
                        await self._keep(connection, clocks)
                        kept_at_s = time.monotonic()
            except (Error, TimeoutError) as error:
                self._failures += 1
                self._failure = " ".join(str(error).split())
                log.warning("partitions_not_kept", reason=self._failure)
                await asyncio.sleep(RETRY_S)
            else:
                self._failures = 0
                await asyncio.sleep(CLOCKS_S)

    async def _compare(self, connection: Connection) -> Clocks:
        clocks = await read_clocks(connection, self._now_us)
        disagreement = clocks.find_disagreement(int(self._config.clock_tolerance_s * SECOND_US))
        offsets = {"postgres": clocks.postgres_us, "log": clocks.log_us}
        for name, at_us in offsets.items():
            if at_us is not None:
                self._metrics.archive_clock_offset_seconds.labels(name).set((clocks.host_us - at_us) / SECOND_US)
        self._metrics.archive_clocks_disagree.set(disagreement is not None)
        if disagreement is not None and self._disagreement is None:
            log.error("clocks_disagree", reason=disagreement)
        elif disagreement is None and self._disagreement is not None:
            log.info("clocks_agree")
        self._disagreement = disagreement
        return clocks

    async def _keep(self, connection: Connection, clocks: Clocks) -> None:
        # by the clocks of the server and of the log, whichever is right: this host's may be the wrong one
        todays = {day_of(at_us) for at_us in (clocks.postgres_us, clocks.log_us) if at_us is not None}
        ahead = [timedelta(days=number) for number in range(self._config.days_ahead + 1)]
        await ensure_days(connection, {today + each for today in todays for each in ahead})
        strays = [table.partition_of(day) for table in TABLES for day in sorted(await list_strays(connection, table))]
        if strays and strays != self._strays:
            log.error("partitions_detached_by_hand", tables=strays)
        self._strays = strays
        if self._disagreement is None:
            await self._let_go(connection, clocks)
            await divide_ahead(connection)
        for table in TABLES:
            self._metrics.archive_partitions.labels(table.name).set(len(await list_days(connection, table)))
        self._metrics.archive_detached_days.set(len(await list_detached(connection)))

    async def _let_go(self, connection: Connection, clocks: Clocks) -> None:
        config = self._config
        first_kept = day_of(clocks.earliest_us) - timedelta(days=config.retention_days)
        await forget_companions(connection, first_kept=first_kept, keep_hours=config.detached_hours)
        leaving = await detach_expired(
            connection,
            first_kept=first_kept,
            days_max=config.drop_max_days,
            keep_hours=config.detached_hours,
        )
        if leaving.waiting and not self._waiting:
            log.error("days_wait", waiting=leaving.waiting, days_max=config.drop_max_days)
        self._waiting = leaving.waiting
        self._metrics.archive_days_due.set(leaving.waiting)
        self._metrics.archive_days_detached_total.inc(len(leaving.days))
        dropped = await drop_detached(connection, keep_hours=config.detached_hours, days_max=config.drop_max_days)
        self._metrics.archive_days_dropped_total.inc(len(dropped))
