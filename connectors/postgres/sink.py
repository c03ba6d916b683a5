"""The archive sink: what happened, exactly once, in PostgreSQL.

Rows and positions are written in one transaction, so PostgreSQL knows best where to read on; the commits to Kafka only
show the lag. How rows are written lives in pipeline.postgres, which rows a record becomes in `rows`.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from functools import partial
from uuid import UUID, uuid4

import structlog

from connectors.postgres.days import Days
from connectors.postgres.refusals import find_refused
from connectors.postgres.rows import NONE_REFUSED, RowBuilder, describe_place
from connectors.sink import Incoming, LogRecord, Place
from pipeline.config import ArchiveConfig
from pipeline.core.lanes.fixed_gate import FixedGate
from pipeline.core.log.commit_note import CommitNote
from pipeline.core.log.positions import NOTHING_YET, Positions, Step
from pipeline.kafka.read_faults import ReadFault, ReadFaults
from pipeline.kafka.topic_ids import TopicIds, describe_other
from pipeline.metrics import Metrics
from pipeline.postgres.archive.outage import Outage
from pipeline.postgres.archive.refusals import is_about_a_row
from pipeline.postgres.archive.writer import ArchiveBatch, ArchiveWriter

LANE = "archive"
OWNERS_S = 5.0
log = structlog.get_logger()


class ArchiveSink:
    """One lane: batches over all topics, one transaction each. Satisfies `Sink` and `PositionKeeper`."""

    def __init__(
        self,
        writer: ArchiveWriter,
        rows: RowBuilder,
        outage: Outage,
        config: ArchiveConfig,
        metrics: Metrics,
        ids: TopicIds,
        faults: ReadFaults,
    ) -> None:
        self._writer = writer
        self._rows = rows
        self._outage = outage
        self._metrics = metrics
        self._ids = ids
        self._faults = faults
        self._owners: dict[Place, UUID] = {}
        self._positions = Positions()
        self._days = Days(config)
        # to be written before the first record of the other log: its position, and the id of its topic
        self._set_back: dict[Place, tuple[int, str | None]] = {}
        self._advancing: asyncio.Task[None] | None = None
        self._is_in_doubt = False  # was a write begun, and not heard to have been committed?
        self._gate = FixedGate(1)
        self._writing = asyncio.Lock()  # partitions can be claimed while a batch of others is being written

    # In one lane, so that rows come in the order of the log and batches are as large as there is work.

    def classify(self, record: LogRecord) -> Incoming:
        return Incoming(record, LANE)

    def gate(self, lane: Hashable) -> FixedGate:
        return self._gate

    async def assigned(self, notes: Mapping[Place, CommitNote | None]) -> Mapping[Place, int]:
        """Become the owner of these. Where to read on; a partition of which nothing is archived is left out."""
        owners = {place: uuid4() for place in notes}
        ids = {topic: found for topic, _ in notes if (found := self._ids.find(topic)) is not None}
        async with self._writing:
            claimed = await self._outage.sit_out(lambda: self._writer.claim(owners, ids))
            self._owners |= owners
            for place, (offset, topic_id) in claimed.items():
                self._positions.begin(place, NOTHING_YET if offset is None else offset)
                present_id = ids.get(place[0], topic_id)
                if topic_id != present_id:
                    await self._begin_anew(place, offset or 0, topic_id, present_id)
        # Kafka's own offsets do not count: a partition without archived records is archived from its beginning
        return {place: self._positions.read_on_at(place) for place in notes}

    async def _begin_anew(self, place: Place, position: int, topic_id: str | None, present_id: str | None) -> None:
        await self._outage.sit_out(lambda: self._writer.set_back(place, self._owners[place], 0, present_id))
        self._positions.set_back(place, 0)
        self._faults.note(ReadFault(place, "made_again", position, 0, describe_other(topic_id), lost=position))

    async def revoked(self, places: Sequence[Place]) -> None:
        """Another process owns these now."""
        for place in places:
            self._owners.pop(place, None)
            self._positions.forget(place)
            self._set_back.pop(place, None)

    async def watch_owners(self) -> None:
        """Runs for ever. Raises `FencedError` when a partition has no position any more: it is to be archived anew.

        A write would find out as well; a partition that is read to its end has none.
        """
        while True:
            await asyncio.sleep(OWNERS_S)
            async with self._writing:
                await self._outage.sit_out(lambda: self._writer.check_known(list(self._owners)))

    def note_vacant(self, place: Place, begin: int, end: int) -> None:
        """The log holds no record between these offsets; without this, a batch beyond them is refused."""
        self._positions.note_vacant(place, begin, end)

    def reached(self, place: Place, offset: int) -> None:
        """Move the position over the end of a transaction: reads wait for the position, not for a record."""
        is_free = self._advancing is None or self._advancing.done()
        if is_free and self._may_advance(place, offset):
            self._advancing = asyncio.ensure_future(self._advance(place, offset))

    def _may_advance(self, place: Place, offset: int) -> bool:
        is_ours = place in self._owners and place not in self._set_back and not self._is_in_doubt
        return is_ours and offset > self._positions.read_on_at(place)

    async def _advance(self, place: Place, offset: int) -> None:
        async with self._writing:
            if not self._may_advance(place, offset):
                return
            try:
                steps = {place: self._positions.plan_vacant(place, offset)}
                self._is_in_doubt = True
                await self._writer.write(ArchiveBatch(steps=steps, owners={place: self._owners[place]}))
                self._is_in_doubt = False
                self._positions.move(place, offset)
            except Exception as error:  # the next batch meets the same, and is where it is handled
                log.warning("position_waits", topic=place[0], partition=place[1], reason=str(error))

    def set_back(self, place: Place, position: int) -> None:
        """From here on the partition's records are those of another log, from `position` on."""
        self._set_back[place] = (position, self._ids.find(place[0]))
        self._positions.forget_vacant(place)

    async def put(self, records: Sequence[LogRecord]) -> None:
        """Write `records`; returns when they are committed. Sits out an outage of PostgreSQL.

        Raises `FencedError` when another process has become the owner of one of their partitions, `HoleError` when they
        do not continue the archived records of each: this process ends, and the next one reads on behind those.
        """
        async with self._writing:
            await self._put(records)

    async def _put(self, records: Sequence[LogRecord]) -> None:
        """In parts, when the log of a partition becomes another one in the middle."""
        begin, next_offsets = 0, {place: self._positions.read_on_at(place) for place in self._set_back}
        for number, record in enumerate(records):
            place = record.place
            if record.offset < next_offsets.get(place, 0):
                await self._put_part(records[begin:number])
                begin, (position, topic_id) = number, self._set_back.pop(place)
                owner = self._owners[place]
                await self._outage.sit_out(partial(self._writer.set_back, place, owner, position, topic_id))
                self._positions.set_back(place, position)
                del next_offsets[place]
            elif place in next_offsets:
                next_offsets[place] = record.offset + 1
        await self._put_part(records[begin:])

    async def _put_part(self, records: Sequence[LogRecord]) -> None:
        if not records:
            return
        started_at_s = time.monotonic()
        try:
            added = await self._outage.sit_out(partial(self._write, records))
        except Exception as error:
            if not is_about_a_row(error):
                raise
            refused = await find_refused(records, self._try)
            if not refused:
                raise
            for record, reason in refused.items():
                log.error("record_refused", **describe_place(record), reason=reason)
            added = await self._outage.sit_out(partial(self._write, records, refused))
        self._metrics.archive_batch_seconds.observe(time.monotonic() - started_at_s)
        self._metrics.archive_batch_records.observe(len(records))
        for table, count in added.items():
            self._metrics.rows_total.labels(table).inc(count)

    async def _try(self, records: Sequence[LogRecord]) -> str | None:
        return await self._outage.sit_out(lambda: self._writer.try_rows(self._rows.build(records)))

    async def _write(
        self, records: Sequence[LogRecord], refused: Mapping[LogRecord, str] = NONE_REFUSED
    ) -> dict[str, int]:
        owners = {place: self._owners[place] for place in {record.place for record in records}}
        if self._is_in_doubt:
            records = await self._leave_out_written(records)
        if not records:
            return {}
        rows, dead_reasons = self._rows.build_with_reasons(records, refused)
        batch = ArchiveBatch(
            steps=self._plan(records),
            owners=owners,
            appended_at_us=self._rows.read_log_times(records),
            rows=rows,
        )
        self._days.note_log_times(batch.appended_at_us.values())
        await self._writer.ensure_days(self._days.choose({row[0] for group in batch.rows.values() for row in group}))
        self._is_in_doubt = True  # also when this is cancelled in the middle
        added = await self._writer.write(batch)
        self._is_in_doubt = False
        for reason in dead_reasons:
            self._metrics.dead_total.labels(reason).inc()
        for place, step in batch.steps.items():
            self._positions.move(place, step.next_offset)
        return added

    async def _leave_out_written(self, records: Sequence[LogRecord]) -> list[LogRecord]:
        for place, offset in (await self._writer.read_positions(self._owners)).items():
            self._positions.move(place, offset)
        self._is_in_doubt = False
        return [record for record in records if record.offset >= self._positions.read_on_at(record.place)]

    def _plan(self, records: Sequence[LogRecord]) -> dict[Place, Step]:
        offsets: dict[Place, list[int]] = defaultdict(list)
        for record in records:
            offsets[record.place].append(record.offset)
        return {place: self._positions.plan(place, offsets[place]) for place in offsets}
