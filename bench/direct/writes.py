"""The archive's writes alone: batches as the archive process writes them, rows and positions in one transaction."""

import time
from dataclasses import dataclass
from uuid import UUID, uuid4

from uuid_utils import uuid7

from bench.cases.scenario import ArchiveWrites
from bench.direct.measured import Measured
from bench.evaluation.result import ServerUse
from bench.staging.stage import Watching
from pipeline.clock import wall_us
from pipeline.config import DatabaseConfig
from pipeline.core.events.ids import derive_attempt_id
from pipeline.core.log.positions import Step
from pipeline.postgres.archive.counts import ServerFigures, read_server_figures
from pipeline.postgres.archive.filling import ROWS_PER_EVENT
from pipeline.postgres.archive.tables import ATTEMPTS, DELIVERIES, DISPATCHES, EVENTS, day_of
from pipeline.postgres.archive.writer import ArchiveBatch, ArchiveWriter, Row
from pipeline.postgres.pool import Pool

PLACE = ("bench.events", 0)  # of no real topic
APPLICATIONS = 100
PAYLOAD = b'{"order": 42, "text": "' + b"x" * 970 + b'"}'  # 1 KB


async def measure_writes(
    config: DatabaseConfig, pool: Pool, wanted: ArchiveWrites, watching: Watching
) -> list[Measured]:
    """Write for some seconds with each size of batch, by one writer, as one archive process has."""
    writer, owner = ArchiveWriter(config), uuid4()
    stream = Stream([str(uuid4()) for _ in range(APPLICATIONS)], owner)
    try:
        await writer.claim({PLACE: owner})
        await writer.ensure_days({day_of(wall_us())})
        found = []
        for events in wanted.batches:
            name = f"{events * ROWS_PER_EVENT:,} rows a transaction"
            watching.on_step(f"writing {name} ...")
            before, began_s = await read_server_figures(pool), time.monotonic()
            latencies_us = []
            while time.monotonic() - began_s < wanted.seconds:
                batch = stream.make_batch(events)
                begun_ns = time.perf_counter_ns()
                await writer.write(batch)
                latencies_us.append((time.perf_counter_ns() - begun_ns) // 1000)
            seconds = time.monotonic() - began_s
            found.append(
                Measured(
                    name=name,
                    began_s=began_s,
                    seconds=seconds,
                    units=len(latencies_us) * events * ROWS_PER_EVENT,
                    latencies_us=latencies_us,
                    server=_compare(before, await read_server_figures(pool), seconds),
                )
            )
        return found
    finally:
        await writer.close()


@dataclass(slots=True)
class Stream:
    """Rows of events that follow each other: one delivery each, answered at once."""

    application_ids: list[str]
    owner: UUID
    next_offset: int = -1

    def make_batch(self, events: int) -> ArchiveBatch:
        """The next `events` of them."""
        first = max(self.next_offset, 0)
        rows: dict[str, list[Row]] = {table.name: [] for table in (EVENTS, DISPATCHES, DELIVERIES, ATTEMPTS)}
        for offset in range(first, first + events):
            for table, row in _make_rows(self.application_ids[offset % len(self.application_ids)], offset).items():
                rows[table].append(row)
        step = Step(self.next_offset, first + events, events, 0)
        self.next_offset = first + events
        return ArchiveBatch(steps={PLACE: step}, owners={PLACE: self.owner}, rows=rows)


def _make_rows(application_id: str, offset: int) -> dict[str, Row]:
    now_us = wall_us()
    day, kind = day_of(now_us), "shop.order.placed"
    event_id, delivery_id, subscription_id = str(uuid7()), str(uuid4()), application_id
    first_id, next_id = derive_attempt_id(delivery_id, 1), derive_attempt_id(delivery_id, 2)
    event = (day, application_id, event_id)
    return {
        EVENTS.name: (
            *event, kind, PAYLOAD, False, "application/json", "{}", "{}", now_us, now_us, now_us, None, 0, offset,
        ),
        DISPATCHES.name: (*event, kind, 0, offset, now_us, now_us, now_us, 1, 1),
        DELIVERIES.name: (*event, delivery_id, subscription_id, kind, now_us, now_us, first_id),
        ATTEMPTS.name: (
            *event, delivery_id, 1, first_id, subscription_id, kind, now_us, "succeeded", None, None, now_us, now_us,
            now_us, "POST", "https://example.com/hooks", '{"content-type":"application/json"}', 200, "{}", b"", False,
            "{}", None, next_id, "hookline.deliveries", 0, offset,
        ),
    }  # fmt: skip


def _compare(before: ServerFigures, after: ServerFigures, seconds: float) -> ServerUse:
    return ServerUse(
        rows_per_s=round((after.rows_inserted - before.rows_inserted) / seconds, 1),
        transactions_per_s=round((after.transactions - before.transactions) / seconds, 1),
        wal_bytes_per_s=round((after.wal_bytes - before.wal_bytes) / seconds, 1),
    )
