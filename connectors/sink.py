"""What a sink is: where its records come from, which lane each belongs to, and `put`.

A new connector (another store, a queue, e-mail) is a folder beside this file with one such class; the consume loop,
lanes, bounds, rebalancing and commits are the runtime's.
"""

import asyncio
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Protocol

from pipeline.core.lanes import Gate, Jam, Rank
from pipeline.core.ranges import CommitNote
from pipeline.kafka.record import LogRecord, Place

__all__ = ["IsSettled", "LogRecord", "Place", "Sink"]

IsSettled = Callable[[Place, int], bool]


class Sink(Protocol):
    """Consumes records into something. Called on the loop."""

    def lane(self, record: LogRecord) -> Hashable:
        """The ordered sub-stream this record belongs to."""

    def owner(self, lane: Hashable) -> Hashable | None:
        """The application a lane belongs to: lanes of one application share what it may hold of this process.

        None: this sink holds back nothing, and `put_away` is called for records that are not due only. Then reading
        stops while too much is in flight.
        """

    def gate(self, lane: Hashable) -> Gate:
        """What may be done at once in this lane; the same object as long as the lane has work."""

    def rank(self, record: LogRecord) -> Rank:
        """Has this record waited before, so that others go first?"""

    def due_at_us(self, record: LogRecord) -> int:
        """Not to be put before this time, in microseconds since the epoch; 0: at once."""

    async def put(self, records: Sequence[LogRecord]) -> "asyncio.Future[Any] | None":
        """Bring records of one lane to their target.

        The records are settled, and their place in the lane is free, when the future it returns is done, at once when
        there is none. An exception ends the process, with the records uncommitted.
        """

    def put_away(self, record: LogRecord, jam: Jam, now_us: int) -> "asyncio.Future[Any]":
        """Keep a record for later, outside of this process: it is not due, or its lane took no more of them.

        `jam`: what is in its lane. Settled when the future is done.
        """

    async def assigned(self, notes: Mapping[Place, CommitNote | None]) -> Mapping[Place, int]:
        """Partitions are ours, with what their last commit said (None: there was none).

        Returns where to begin those of which the sink knows better than the commit.
        """

    def note_vacant(self, place: Place, begin: int, end: int) -> None:
        """The log holds no record between these offsets; said before the record at `end` comes."""

    def reached(self, place: Place, offset: int) -> None:
        """Everything before this offset is settled, or holds no record. Said again and again."""

    def set_back(self, place: Place, position: int) -> None:
        """The partition's log was cut off or made again: its next records are others, from `position` on."""

    def attempts_seen(self, place: Place, is_settled: IsSettled) -> int | None:
        """For the note of a commit made now; None: this sink has no such thing.

        `is_settled`: is this record (its place and offset) done with, as far as the commit will say?
        """

    async def revoked(self, places: Sequence[Place]) -> None:
        """These are somebody else's now; nothing of theirs is open any more."""
