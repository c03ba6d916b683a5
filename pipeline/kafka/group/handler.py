"""The protocol of a consumer's handler. All of it runs on the loop; the consumer waits for the calls that are async."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from pipeline.kafka.read_faults import ReadFault
from pipeline.kafka.record import Committed, LogRecord, Place
from pipeline.metrics import CommitResult


class Assignment(Protocol):
    """Handles partitions that are assigned and revoked."""

    async def assigned(self, committed: Mapping[Place, Committed | None]) -> Mapping[Place, int]:
        """Partitions were assigned to this member. Returns where to begin; others begin at their committed offsets.

        `committed`: None if nothing was committed, or only for an earlier topic of this name.
        """

    async def revoked(self, places: Sequence[Place]) -> Mapping[Place, Committed]:
        """Give up partitions: they go to another member once this returns the offsets to commit for them."""

    def lost(self, places: Sequence[Place]) -> None:
        """Forget partitions that have gone to another member already."""


class LogChanges(Protocol):
    """Records are missing or unreadable, or the log has begun anew."""

    def began_anew(self, fault: ReadFault) -> None:
        """The committed offset of this place counts in another topic: it is read from its beginning."""

    def reached(self, place: Place, offset: int) -> None:
        """The partition is read to its present end: no record comes from before this offset.

        Ends of transactions, aborted records and compacted ones take offsets and are never handed over.
        """

    def met(self, fault: ReadFault) -> None:
        """Reading goes on at `fault.end`. Records before it that were read and are gone from the log are settled."""

    def missing(self, place: Place, records: int) -> None:
        """Note how many records of a reported gap were deleted before they could be read."""


class Handler(NamedTuple):
    """One consumer of records, by concern."""

    assignment: Assignment
    changes: LogChanges
    # Records were read. Each must be given back by `LogConsumer.release`.
    received: Callable[[Sequence[LogRecord]], None]
    # The next offset that each partition will write, every few seconds.
    measured: Callable[[Mapping[Place, int]], None]
    # A commit has succeeded or failed.
    commit_ended: Callable[[CommitResult], None]
    # Seconds until more records of retry topics may be taken, after these; 0: at once.
    retries_rest_s: Callable[[Sequence[LogRecord]], float] = lambda _: 0.0
