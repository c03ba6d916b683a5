"""The care of day partitions: made ahead, dropped when they have expired, every quarter of an hour."""

import asyncio
from datetime import UTC, datetime

import structlog
from psycopg import Error

from pipeline.config import ArchiveConfig, DatabaseConfig
from pipeline.metrics import Metrics
from pipeline.postgres.archive_partitions import drop_expired, ensure_partitions, list_days
from pipeline.postgres.archive_tables import TABLES
from pipeline.postgres.archive_writer import open_archive_connection

INTERVAL_S = 900.0
RETRY_S = 10.0
log = structlog.get_logger()


async def keep_partitions(database: DatabaseConfig, config: ArchiveConfig, metrics: Metrics) -> None:
    """Runs for ever. What fails is tried again: until then the default partition takes the rows."""
    while True:
        try:
            await _keep_once(database, config, metrics)
        except (Error, TimeoutError) as error:
            log.warning("partitions_not_kept", reason=str(error).strip().partition("\n")[0])
            await asyncio.sleep(RETRY_S)
        else:
            await asyncio.sleep(INTERVAL_S)


async def _keep_once(database: DatabaseConfig, config: ArchiveConfig, metrics: Metrics) -> None:
    today = datetime.now(UTC).date()
    async with await open_archive_connection(database) as connection:
        await ensure_partitions(connection, today=today, days_ahead=config.days_ahead)
        await drop_expired(connection, today=today, retention_days=config.retention_days)
        for table in TABLES:
            metrics.archive_partitions.labels(table.name).set(len(await list_days(connection, table)))
