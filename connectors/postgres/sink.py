"""The archive sink: what happened, exactly once, in PostgreSQL.

Rows and positions are written in one transaction, so PostgreSQL knows best where to read on; what is committed to Kafka
only shows the lag. How rows are written lives in pipeline.postgres, which rows a record becomes in `rows`.
"""

import asyncio
import time
from collections.abc import Hashable, Mapping, Sequence
from datetime import timedelta
from uuid import UUID, uuid4

from connectors.postgres.rows import RowBuilder, Rows
from connectors.sink import IsSettled, LogRecord, Place
from pipeline.config import ArchiveConfig
from pipeline.core.lanes import Jam, Rank
from pipeline.core.ranges import CommitNote
from pipeline.core.steady import SteadyGate
from pipeline.kafka.producer import Placement
from pipeline.metrics import Metrics
from pipeline.postgres.archive_outage import Outage
from pipeline.postgres.archive_tables import day_of
from pipeline.postgres.archive_writer import ArchiveBatch, ArchiveWriter

LANE = "archive"


class ArchiveSink:
    """One lane: batches over all topics, one transaction each."""

    def __init__(
        self, writer: ArchiveWriter, rows: RowBuilder, outage: Outage, config: ArchiveConfig, metrics: Metrics
    ) -> None:
        self._writer = writer
        self._rows = rows
        self._outage = outage
        self._config = config
        self._metrics = metrics
        self._owners: dict[Place, UUID] = {}
        self._gate = SteadyGate(1)
        self._writing = asyncio.Lock()  # partitions can be claimed while a batch of others is being written

    # In one lane, so that rows come in the order of the log and batches are as large as there is work.

    def lane(self, record: LogRecord) -> Hashable:
        return LANE

    def gate(self, lane: Hashable) -> SteadyGate:
        return self._gate

    def rank(self, record: LogRecord) -> Rank:
        return Rank.FRESH

    def due_at_us(self, record: LogRecord) -> int:
        return 0

    def put_away(self, record: LogRecord, jam: Jam, now_us: int) -> "asyncio.Future[Placement]":
        raise AssertionError("the archive's lane is never full and its records are always due")

    def attempts_seen(self, place: Place, is_settled: IsSettled) -> int | None:
        return None

    async def assigned(self, notes: Mapping[Place, CommitNote | None]) -> Mapping[Place, int]:
        """Become the owner of these. Where to read on; a partition of which nothing is archived is left out."""
        owners = {place: uuid4() for place in notes}
        async with self._writing:
            claimed = await self._outage.sit_out(lambda: self._writer.claim(owners))
        self._owners |= owners
        known = {place: offset for place, offset in claimed.items() if offset is not None}
        # whatever Kafka's own offsets say: of what was never archived everything is still to be archived
        return {place: known.get(place, 0) for place in notes}

    async def revoked(self, places: Sequence[Place]) -> None:
        """These are somebody else's now."""
        for place in places:
            self._owners.pop(place, None)

    async def put(self, records: Sequence[LogRecord]) -> None:
        """Write `records`; returns when they are committed. Sits out an outage of PostgreSQL.

        Raises `FencedError` when another process has become the owner of one of their partitions.
        """
        async with self._writing:
            await self._put(records)

    async def _put(self, records: Sequence[LogRecord]) -> None:
        next_offsets = {record.place: record.offset + 1 for record in records}  # in the order of each partition
        rows = self._rows.build(records)
        batch = ArchiveBatch(
            next_offsets=next_offsets, owners={place: self._owners[place] for place in next_offsets}, rows=rows
        )
        started_at_s = time.monotonic()
        added = await self._outage.sit_out(lambda: self._write(batch, rows))
        self._metrics.archive_batch_seconds.observe(time.monotonic() - started_at_s)
        self._metrics.archive_batch_records.observe(len(records))
        for table, count in added.items():
            self._metrics.rows_total.labels(table).inc(count)

    async def _write(self, batch: ArchiveBatch, rows: Rows) -> dict[str, int]:
        today = day_of(time.time_ns() // 1000)
        first = today - timedelta(days=self._config.retention_days)
        last = today + timedelta(days=self._config.days_ahead)
        # a day outside of these is some clock's mistake; its rows go to the default partition
        await self._writer.ensure_days({row[0] for group in rows.values() for row in group if first <= row[0] <= last})
        return await self._writer.write(batch)
