"""The sink: how it classifies a record, how much may be open at once, and where records go.

A new connector (another store, a queue, e-mail) is a folder beside this file with one `Sink`. Reading, lanes, bounds,
rebalancing and commits are the runtime's. `Parking`, `Bookmark` and `PositionKeeper` are optional: a sink that needs
one hands it to the runtime.
"""

import asyncio
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from pipeline.core.lanes.lane import Gate, Jam, Rank
from pipeline.core.log.commit_note import CommitNote
from pipeline.kafka.record import LogRecord, Place

__all__ = ["Bookmark", "Incoming", "IsSettled", "LogRecord", "Parking", "Place", "PositionKeeper", "Sink"]

IsSettled = Callable[[Place, int], bool]


class Incoming(NamedTuple):
    """A record as its sink sees it: everything the runtime needs to know about it."""

    work: Any  # the argument of `put`: the record, or an object the sink has made of it
    lane: Hashable  # the ordered sub-stream it belongs to
    rank: Rank = Rank.FRESH
    due_at_us: int = 0  # not to be put before, in microseconds since the epoch; 0: at once


class Sink(Protocol):
    """Consumes records into something. Called on the loop."""

    def classify(self, record: LogRecord) -> Incoming:
        """Asked once per record, when it is read. Changes nothing."""

    def gate(self, lane: Hashable) -> Gate:
        """The bound of open work in this lane; the same object as long as the lane has work."""

    async def put(self, works: Sequence[Any]) -> "asyncio.Future[Any] | None":
        """Bring `Incoming.work` of one lane to its target.

        The records are settled, and their place in the lane is free, when the future it returns is done; at once when
        it returns none. If the future is cancelled they are put again, unless their partitions have gone. An exception
        ends the process, with the records uncommitted.
        """

    async def assigned(self, notes: Mapping[Place, CommitNote | None]) -> Mapping[Place, int]:
        """Partitions were assigned to this process, each with the note of its last commit, None if there was none.

        Returns the offsets at which to begin, for partitions whose position the sink knows better than the commit does.
        """

    async def revoked(self, places: Sequence[Place]) -> None:
        """Forget partitions that belong to another process now; none of their records is open."""


class Parking(Protocol):
    """Writes records that cannot start soon to a retry topic, and bounds what one application holds.

    In a sink without `Parking` every lane takes all its records, and reading pauses while too many are in flight. A
    record that is due later, or whose lane refuses it, is then an error.
    """

    def owner(self, lane: Hashable) -> Hashable:
        """The application of a lane: the lanes of one application share what it may hold of this process."""

    def park(self, incoming: Incoming, jam: Jam, now_us: int) -> "asyncio.Future[Any]":
        """Write a record to a retry topic: it is not due, or its lane is full. `jam`: what waits in its lane.

        Settled when the future is done.
        """

    def came_back(self, incoming: Incoming) -> None:
        """A record that was parked has been read again."""


class Bookmark(Protocol):
    """The offset in the attempts topic that goes into the note of a commit."""

    def attempts_seen(self, place: Place, is_settled: IsSettled) -> int | None:
        """The offset for a commit of `place` made now; None: the partition has no bookmark.

        `is_settled`: is the record at this place and offset settled, as far as the commit will say?
        """


class PositionKeeper(Protocol):
    """Keeps the positions of partitions itself, and must hear of offsets that hold no record."""

    def note_vacant(self, place: Place, begin: int, end: int) -> None:
        """The log holds no record between these offsets. Called before the record at `end` is classified."""

    def reached(self, place: Place, offset: int) -> None:
        """Everything before this offset is settled, or holds no record. Called again and again."""

    def set_back(self, place: Place, position: int) -> None:
        """The partition's log was cut off or made again: its next records are others, from `position` on."""
