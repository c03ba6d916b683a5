"""The archive sink: what happened, exactly once, in PostgreSQL.

Rows and positions are written in one transaction, so PostgreSQL knows best where to read on; the commits to Kafka only
show the lag. How rows are written lives in pipeline.postgres, which rows a record becomes in `rows`.
"""

import asyncio
from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING

from connectors.postgres.batches import Batches
from connectors.postgres.claims import Claims
from connectors.postgres.days import Days
from connectors.postgres.positions import ArchivePositions
from connectors.postgres.rows import RowBuilder
from connectors.sink import Incoming, LogRecord, Place
from pipeline.config import ArchiveConfig
from pipeline.core.lanes.fixed_gate import FixedGate
from pipeline.core.log.commit_note import CommitNote
from pipeline.core.units import SECOND_US
from pipeline.kafka.read_faults import ReadFaults
from pipeline.kafka.topic_ids import TopicIds
from pipeline.metrics import Metrics
from pipeline.postgres.archive.outage import Outage
from pipeline.postgres.archive.writer import ArchiveWriter
from pipeline.pressure import Pressure

if TYPE_CHECKING:
    from pipeline.tracing import Tracing

LANE = "archive"
# From the start of one batch to that of the next, where processors are short: a batch costs this process 4 ms and
# PostgreSQL as much, whatever its size.
GATHER_MAX_S = 0.3
OWNERS_S = 5.0


class ArchiveSink:
    """One lane: batches over all topics, one transaction each. Satisfies `Sink`; its `positions` are a collaborator."""

    def __init__(
        self,
        writer: ArchiveWriter,
        rows: RowBuilder,
        outage: Outage,
        config: ArchiveConfig,
        metrics: Metrics,
        ids: TopicIds,
        faults: ReadFaults,
        *,
        pressure: Pressure | None = None,
        tracing: "Tracing | None" = None,
    ) -> None:
        """`pressure`: on processors; None: batches follow at once."""
        self._claims = Claims(writer, outage, ids, faults)
        self._batches = Batches(self._claims, writer, rows, outage, Days(config), metrics, tracing)
        self._pressure = pressure
        self._gate = FixedGate(1, apart_us=self._choose_apart_us)
        self.positions = ArchivePositions(self._claims)

    # In one lane, so that rows come in the order of the log and batches are as large as there is work.

    def classify(self, record: LogRecord) -> Incoming:
        return Incoming(record, LANE)

    def gate(self, lane: Hashable) -> FixedGate:
        return self._gate

    async def assigned(self, notes: Mapping[Place, CommitNote | None]) -> Mapping[Place, int]:
        return await self._claims.claim(notes)

    async def revoked(self, places: Sequence[Place]) -> None:
        self._claims.forget(places)

    async def put(self, records: Sequence[LogRecord]) -> None:
        """Write `records`; returns when they are committed. Sits out an outage of PostgreSQL.

        Raises `FencedError` when another process has become the owner of one of their partitions, `HoleError` when they
        do not continue the archived records of each: this process ends, and the next one reads on behind those.
        """
        async with self._claims.writing:
            # in parts, when the log of a partition becomes another one in the middle
            begin, next_offsets = 0, self._claims.list_breaks()
            for number, record in enumerate(records):
                place = record.place
                if record.offset < next_offsets.get(place, 0):
                    await self._batches.write(records[begin:number])
                    await self._claims.pass_break(place)
                    begin = number
                    del next_offsets[place]
                elif place in next_offsets:
                    next_offsets[place] = record.offset + 1
            await self._batches.write(records[begin:])

    def _choose_apart_us(self) -> int:
        return round(self._pressure.gather_s(GATHER_MAX_S) * SECOND_US) if self._pressure is not None else 0

    async def watch_owners(self) -> None:
        """Runs for ever. Raises `FencedError` when a partition must be archived again."""
        while True:
            await asyncio.sleep(OWNERS_S)
            await self._claims.check_known()
