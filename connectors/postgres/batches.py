"""One batch of records into PostgreSQL: rows and positions in one transaction, refused records as dead letters.

A record whose dead letter is refused as well is set aside: the archive has nothing of it, and goes on. The log has it.
"""

import time
from collections.abc import Mapping, Sequence, Set
from functools import partial
from typing import TYPE_CHECKING

import structlog

from connectors.postgres.batch_size import BatchSize
from connectors.postgres.claims import Claims
from connectors.postgres.days import Days
from connectors.postgres.refusals import find_refused
from connectors.postgres.rows import NONE_REFUSED, RowBuilder, describe_place
from connectors.sink import LogRecord
from pipeline.metrics import Metrics
from pipeline.postgres.archive.outage import Outage
from pipeline.postgres.archive.refusals import describe_refusal, is_about_a_row, is_about_the_amount
from pipeline.postgres.archive.writer import ArchiveBatch, ArchiveWriter

if TYPE_CHECKING:
    from pipeline.tracing import Tracing

log = structlog.get_logger()


class Batches:
    """Writes batches. The caller holds `Claims.writing`."""

    def __init__(
        self,
        claims: Claims,
        writer: ArchiveWriter,
        rows: RowBuilder,
        outage: Outage,
        days: Days,
        metrics: Metrics,
        tracing: "Tracing | None",
    ) -> None:
        self._claims = claims
        self._writer = writer
        self._rows = rows
        self._outage = outage
        self._days = days
        self._metrics = metrics
        self._tracing = tracing
        self._size = BatchSize()

    async def write(self, records: Sequence[LogRecord]) -> None:
        """Write `records`, of each partition in rising order; returns when they are committed."""
        while records:
            started_at_s = time.monotonic()
            written, added = await self._write_some(records)
            self._metrics.archive_batch_seconds.observe(time.monotonic() - started_at_s)
            self._metrics.archive_batch_records.observe(written)
            for table, count in added.items():
                self._metrics.rows_total.labels(table).inc(count)
            if self._tracing is not None:
                self._trace(self._tracing, records[:written], time.monotonic() - started_at_s)
            records = records[written:]

    async def _write_some(self, records: Sequence[LogRecord]) -> tuple[int, dict[str, int]]:
        """Write as many from the start as one transaction may have: their number, and the new rows by table."""
        refused: Mapping[LogRecord, str] = NONE_REFUSED
        aside: Set[LogRecord] = frozenset()
        while True:
            try:
                return await self._outage.sit_out(partial(self._write_within, records, refused, aside))
            except Exception as error:
                if not is_about_a_row(error):
                    raise
                count = self._size.choose(len(records))
                found = await self._find_refused([each for each in records[:count] if each not in refused])
                refused = {**refused, **found}
                letters = [each for each in records[:count] if each in refused and each not in aside]
                unkept = await self._find_unkept(letters, refused)
                aside |= unkept
                if not found and not unkept:
                    if count == 1:
                        raise
                    # none of them alone: they are written apart
                    self._size.shrink(count)
                    log.warning("batch_given_up", records=count, reason=describe_refusal(error))

    async def _find_refused(self, records: Sequence[LogRecord]) -> Mapping[LogRecord, str]:
        """Find the records of which PostgreSQL takes no rows, and why."""
        found = await find_refused(records, partial(self._try, refused=NONE_REFUSED))
        for record, reason in found.items():
            log.error("record_refused", **describe_place(record), reason=reason)
        return found

    async def _find_unkept(self, records: Sequence[LogRecord], refused: Mapping[LogRecord, str]) -> Set[LogRecord]:
        """Find the refused records of which PostgreSQL takes no dead letter either."""
        found = await find_refused(records, partial(self._try, refused=refused))
        for record, reason in found.items():
            log.error("record_set_aside", **describe_place(record), reason=reason, refused_first=refused[record])
        return found.keys()

    async def _write_within(
        self, records: Sequence[LogRecord], refused: Mapping[LogRecord, str], aside: Set[LogRecord]
    ) -> tuple[int, dict[str, int]]:
        count = self._size.choose(len(records))
        try:
            added = await self._write(records[:count], refused, aside)
        except Exception as error:
            if is_about_the_amount(error):
                self._size.shrink(count)
                if count > 1:
                    log.warning("batch_given_up", records=count, reason=describe_refusal(error))
            raise
        self._size.grow(count)
        return count, added

    def _trace(self, tracing: "Tracing", records: Sequence[LogRecord], took_s: float) -> None:
        ended_ns = time.time_ns()
        begun_ns = ended_ns - round(took_s * 1_000_000_000)
        for record in records:
            if record.trace is not None:
                tracing.archived(record.topic, record.trace, begun_ns=begun_ns, ended_ns=ended_ns)

    async def _try(self, records: Sequence[LogRecord], refused: Mapping[LogRecord, str]) -> str | None:
        return await self._outage.sit_out(lambda: self._writer.try_rows(self._rows.build(records, refused)))

    async def _write(
        self, records: Sequence[LogRecord], refused: Mapping[LogRecord, str], aside: Set[LogRecord]
    ) -> dict[str, int]:
        owners = self._claims.find_owners(records)
        records = await self._claims.leave_out_written(records)
        if not records:
            return {}
        kept = [each for each in records if each not in aside] if aside else records
        rows, dead_reasons = self._rows.build_with_reasons(kept, refused)
        batch = ArchiveBatch(
            steps=self._claims.plan(records),
            owners=owners,
            appended_at_us=self._rows.read_log_times(records),
            rows=rows,
        )
        self._days.note_log_times(batch.appended_at_us.values())
        await self._writer.ensure_days(self._days.choose({row[0] for group in batch.rows.values() for row in group}))
        added = await self._claims.write(batch)
        for reason in dead_reasons:
            self._metrics.dead_total.labels(reason).inc()
        for record in records if aside else ():
            if record in aside:
                self._metrics.set_aside_total.labels(record.topic).inc()
        return added
