"""How far the log and the archive are, asked once for all requests that wait for the archive.

An answer that was asked for before a request came says nothing to that request: it takes part in the next round. A
round asks Kafka once for the ends of all wanted partitions, and PostgreSQL once for their positions.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass

from pipeline.kafka.admin import LogEnds
from pipeline.kafka.topic_ids import TopicIds
from pipeline.postgres.archive.progress import read_next_offsets
from pipeline.postgres.pool import Pool
from pipeline.supervisor import take_notice
from pipeline.tenant import SYSTEM, work_for
from pipeline.topics import Topic

APPLICATIONS_REMEMBERED = 10_000
HOLDS_S = 1.0


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a partition: the offset of its next record, and the one before which everything is archived."""

    end: int
    archived: int


class CatchingUp:
    """The archive's progress in the events topic, for one gateway. Made by `follow_archive`."""

    def __init__(
        self,
        ask: Callable[[Collection[int]], Awaitable[Mapping[int, Progress]]],
        find_topic_id: Callable[[], str | None],
    ) -> None:
        """`ask`: for some partitions. `find_topic_id`: of the topic as it is now; offsets mean nothing in another."""
        self._ask, self._find_topic_id = ask, find_topic_id
        self._asking = asyncio.Lock()
        self._wanted: set[int] = set()
        self._next: asyncio.Task[Mapping[int, Progress]] | None = None
        # by application: everything before this offset (in the topic of this id) is archived with its matches
        self._dispatched: OrderedDict[str, tuple[str | None, int]] = OrderedDict()

    async def ask(self, partition: int) -> Progress:
        """The progress after this call began. Raises `TimeoutError` when Kafka is silent, and as the pool does."""
        self._wanted.add(partition)
        if self._next is None:
            self._next = asyncio.create_task(self._run_round())
            self._next.add_done_callback(take_notice)
        return (await asyncio.shield(self._next))[partition]

    async def _run_round(self) -> Mapping[int, Progress]:
        work_for(SYSTEM)  # for all that wait, not for the first one
        async with self._asking:
            # who comes from here on takes part in the next round
            partitions, self._wanted, self._next = self._wanted, set(), None
            return await self._ask(partitions)

    def note_dispatched(self, application_id: str, before: int) -> None:
        """Note that the application's events before this offset are archived with their matches."""
        self._dispatched[application_id] = (self._find_topic_id(), before)
        self._dispatched.move_to_end(application_id)
        if len(self._dispatched) > APPLICATIONS_REMEMBERED:
            self._dispatched.popitem(last=False)

    def is_dispatched(self, application_id: str, end: int) -> bool:
        """Are the application's events before `end` known to be archived with their matches?"""
        topic_id, before = self._dispatched.get(application_id, (None, -1))
        return end <= before and topic_id == self._find_topic_id()


class ArchivedLately:
    """Positions of the archive read a moment ago. They only rise, so an end at or before one needs no other look-up.

    A restored database can set them back: so each holds for a second.
    """

    def __init__(self, find_now_s: Callable[[], float] = time.monotonic) -> None:
        self._find_now_s = find_now_s
        self._positions: dict[int, tuple[str | None, int, float]] = {}  # topic id, position, until when

    def note(self, topic_id: str | None, positions: Mapping[int, int]) -> None:
        """Remember positions that were just read, by partition."""
        until_s = self._find_now_s() + HOLDS_S
        for partition, position in positions.items():
            self._positions[partition] = (topic_id, position, until_s)

    def find(self, topic_id: str | None, partitions: Collection[int]) -> dict[int, int] | None:
        """The remembered positions of these partitions; None if one is missing or too old."""
        now_s = self._find_now_s()
        found = {}
        for partition in partitions:
            known_id, position, until_s = self._positions.get(partition, (None, 0, 0.0))
            if topic_id is None or known_id != topic_id or until_s <= now_s:
                return None
            found[partition] = position
        return found


def follow_archive(ends: LogEnds, pool: Pool, topic: Topic, ids: TopicIds) -> CatchingUp:
    """`pool`: of the primary; a replica may lag."""
    lately = ArchivedLately()

    async def read_positions(topic_id: str | None, partitions: Collection[int]) -> dict[int, int]:
        positions = await read_next_offsets(pool, topic.name, partitions, topic_id)
        lately.note(topic_id, positions)
        return positions

    async def ask(partitions: Collection[int]) -> Mapping[int, Progress]:
        topic_id = ids.find(topic.name)
        known = lately.find(topic_id, partitions)
        if known is None:
            found, archived = await asyncio.gather(
                ends.end_offsets(topic, partitions), read_positions(topic_id, partitions)
            )
        else:
            found = await ends.end_offsets(topic, partitions)
            is_known = all(found[partition] <= known[partition] for partition in partitions)
            archived = known if is_known else await read_positions(topic_id, partitions)
        return {partition: Progress(found[partition], archived[partition]) for partition in partitions}

    return CatchingUp(ask, lambda: ids.find(topic.name))
