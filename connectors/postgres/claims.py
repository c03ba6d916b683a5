"""The partitions that this process owns in PostgreSQL, and how far each of them is archived.

Every write names the owner of its partitions and the positions it starts from: PostgreSQL refuses it when another
process has claimed one since.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID, uuid4

from connectors.sink import LogRecord, Place
from pipeline.core.log.positions import NOTHING_YET, Positions, Step
from pipeline.kafka.read_faults import ReadFault, ReadFaults
from pipeline.kafka.topic_ids import TopicIds, describe_other
from pipeline.postgres.archive.outage import Outage
from pipeline.postgres.archive.writer import ArchiveBatch, ArchiveWriter


class Claims:
    """Owners and positions. Writes and claims run one at a time: hold `writing`."""

    def __init__(self, writer: ArchiveWriter, outage: Outage, ids: TopicIds, faults: ReadFaults) -> None:
        self._writer = writer
        self._outage = outage
        self._ids = ids
        self._faults = faults
        self._owners: dict[Place, UUID] = {}
        self._positions = Positions()
        # the log has begun anew, and no record of the new one is written yet: its position, and the id of its topic
        self._breaks: dict[Place, tuple[int, str | None]] = {}
        self._is_in_doubt = False  # a write was begun, and its commit was not confirmed
        self.writing = asyncio.Lock()  # partitions can be claimed while a batch of others is being written

    async def claim(self, places: Iterable[Place]) -> Mapping[Place, int]:
        """Become the owner of these partitions; returns the offset of each at which reading goes on.

        Offsets committed to Kafka do not count: a partition without archived records is archived from its beginning.
        """
        owners = {place: uuid4() for place in places}
        ids = {topic: found for topic, _ in owners if (found := self._ids.find(topic)) is not None}
        async with self.writing:
            claimed = await self._outage.sit_out(lambda: self._writer.claim(owners, ids))
            self._owners |= owners
            for place, (offset, topic_id) in claimed.items():
                self._positions.begin(place, NOTHING_YET if offset is None else offset)
                present_id = ids.get(place[0], topic_id)
                if topic_id != present_id:
                    await self._write_break(place, 0, present_id)
                    reason = describe_other(topic_id)
                    self._faults.note(ReadFault(place, "made_again", offset or 0, 0, reason, lost=offset or 0))
        return {place: self._positions.read_on_at(place) for place in owners}

    def forget(self, places: Iterable[Place]) -> None:
        """Forget partitions that another process owns now."""
        for place in places:
            self._owners.pop(place, None)
            self._positions.forget(place)
            self._breaks.pop(place, None)

    async def check_known(self) -> None:
        """Check that PostgreSQL has all that it confirmed: the table may have been lost, or a server that took over
        may lack the last transactions. Raises `FencedError` or `HoleError`: what is missing must be archived again.

        A write would find out as well; a partition that is read to its end has none.
        """
        async with self.writing:
            known = await self._outage.sit_out(lambda: self._writer.read_known(list(self._owners)))
            for place, next_offset in known.items():
                self._positions.check_kept(place, next_offset)

    # Where the log begins anew.

    def note_break(self, place: Place, position: int) -> None:
        """Note that the partition's records are those of another log, from `position` on."""
        self._breaks[place] = (position, self._ids.find(place[0]))
        self._positions.forget_vacant(place)

    def list_breaks(self) -> dict[Place, int]:
        """Partitions whose log has begun anew, each with the next offset of the old log."""
        return {place: self._positions.read_on_at(place) for place in self._breaks}

    def has_break(self, place: Place) -> bool:
        """Has the log of this partition begun anew, and is that not written yet?"""
        return place in self._breaks and place in self._owners

    async def pass_break(self, place: Place) -> None:
        """Everything of the old log is written: the next record of this partition is one of the new log."""
        position, topic_id = self._breaks.pop(place)
        await self._write_break(place, position, topic_id)

    async def _write_break(self, place: Place, position: int, topic_id: str | None) -> None:
        owner = self._owners[place]
        await self._outage.sit_out(lambda: self._writer.set_back(place, owner, position, topic_id))
        self._positions.set_back(place, position)

    # Positions.

    def note_vacant(self, place: Place, begin: int, end: int) -> None:
        """The log holds no record between these offsets; without this, a batch beyond them is refused."""
        self._positions.note_vacant(place, begin, end)

    def may_advance(self, place: Place, offset: int) -> bool:
        """Can the position move to `offset` without a record?"""
        is_ours = place in self._owners and place not in self._breaks and not self._is_in_doubt
        return is_ours and offset > self._positions.read_on_at(place)

    def plan_vacant(self, place: Place, offset: int) -> ArchiveBatch:
        """A batch that only moves the position. Raises `HoleError`."""
        steps = {place: self._positions.plan_vacant(place, offset)}
        return ArchiveBatch(steps=steps, owners={place: self._owners[place]})

    def plan(self, records: Sequence[LogRecord]) -> dict[Place, Step]:
        """Plan how these records move the positions. Raises `HoleError` unless they follow the archived ones."""
        offsets: dict[Place, list[int]] = defaultdict(list)
        for record in records:
            offsets[record.place].append(record.offset)
        return {place: self._positions.plan(place, offsets[place]) for place in offsets}

    def find_owners(self, records: Sequence[LogRecord]) -> dict[Place, UUID]:
        """The owner ids under which the partitions of these records are written."""
        return {place: self._owners[place] for place in {record.place for record in records}}

    async def leave_out_written(self, records: Sequence[LogRecord]) -> Sequence[LogRecord]:
        """The `records` that are not archived yet. Asks PostgreSQL if the last write may have been committed.

        Raises `HoleError` when it lacks what it had confirmed before.
        """
        if not self._is_in_doubt:
            return records
        for place, offset in (await self._writer.read_positions(self._owners)).items():
            self._positions.check_kept(place, offset)
            self._positions.move(place, offset)
        self._is_in_doubt = False
        return [record for record in records if record.offset >= self._positions.read_on_at(record.place)]

    async def write(self, batch: ArchiveBatch) -> dict[str, int]:
        """Write a batch; rows by table that were added."""
        self._is_in_doubt = True  # also when this is cancelled in the middle
        added = await self._writer.write(batch)
        self._is_in_doubt = False
        for place, step in batch.steps.items():
            self._positions.move(place, step.next_offset)
        return added
