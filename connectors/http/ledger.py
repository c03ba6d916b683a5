"""Which attempts are in the log, and which are being made: a delivery that comes twice is sent once.

Also what a commit may say of them (`attempts_tail`): after a crash the attempts that no commit knew of are read again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

import structlog

from connectors.http.attempts_tail import AttemptsTail
from connectors.sink import IsSettled, LogRecord, Place
from pipeline.core.events.records import Attempt, expect, is_probe
from pipeline.core.log.commit_note import CommitNote
from pipeline.core.log.recent_ids import RecentIds
from pipeline.kafka.producer import Placement
from schemas import SchemaError

# From where to read each partition of the attempts topic → its newest records, and where each partition ends.
ReadTail = Callable[[Mapping[int, int]], Awaitable[tuple[Sequence[LogRecord], Mapping[int, int]]]]
Written = asyncio.Future[Placement]
# Attempts read before those that no commit knew of. A matcher that died with this process matches again what it had
# read since its last commit (half a second, and the records in flight): the same deliveries come at new offsets, and
# those that were answered must be recognised. At 500 attempts a second in a partition this is two seconds.
REMATCHED_MAX = 1_000

log = structlog.get_logger()


class Ledger:
    """`lead`: the name of the topic that deliveries come from first."""

    def __init__(self, lead: str, *, read_tail: ReadTail, recent_max: int) -> None:
        self._lead = lead
        self._read_tail = read_tail
        self._made = RecentIds(recent_max)
        self._under_way: dict[str, Written] = {}
        self._tails: dict[int, AttemptsTail] = {}  # by partition

    # Attempts.

    def has(self, attempt_id: str) -> bool:
        """Is this attempt in the log, or about to be?"""
        return attempt_id in self._made

    def find_under_way(self, attempt_id: str) -> Written | None:
        """The future outcome of another copy of the delivery; None: no copy is under way."""
        return self._under_way.get(attempt_id)

    def begin(self, attempt_id: str) -> None:
        """Begin an attempt: from now on copies of this delivery share its outcome."""
        self._under_way[attempt_id] = asyncio.get_running_loop().create_future()

    def follow(self, attempt_id: str, written: Written) -> None:
        """Give the attempt of `begin` its outcome."""
        shared = self._under_way[attempt_id]

        def on_done(done: Written) -> None:
            self._under_way.pop(attempt_id, None)
            if done.cancelled() or done.exception() is not None:
                shared.cancel()  # the failure itself ends the process
            elif not shared.done():
                shared.set_result(done.result())

        written.add_done_callback(on_done)

    def abandon(self, attempt_id: str) -> None:
        """Forget the attempt of `begin`: it was cancelled, since its partition goes to another process."""
        shared = self._under_way.pop(attempt_id, None)
        if shared is not None:
            shared.cancel()

    def add(self, attempt_id: str, partition: int, written: Written) -> None:
        """An attempt was handed to the log: the same attempt brought again is a repeat."""
        self._made.add(attempt_id)

        def on_done(done: Written) -> None:
            # acknowledged in the order they were written, so that all before this one are settled as well
            if not done.cancelled() and done.exception() is None and partition in self._tails:
                self._tails[partition].end = done.result().offset + 1

        written.add_done_callback(on_done)

    # Partitions.

    async def assigned(self, notes: Mapping[Place, CommitNote | None]) -> None:
        """Read the attempts that the commits of these partitions do not know of, and some before them."""
        starts = {
            partition: (note.attempts_offset or 0) if note is not None else 0
            for (topic, partition), note in notes.items()
            if topic == self._lead
        }
        records, ends = await self._read_tail({each: max(0, start - REMATCHED_MAX) for each, start in starts.items()})
        tails = {each: AttemptsTail(start, end=ends[each]) for each, start in starts.items() if each in ends}
        for record in records:
            try:
                attempt = expect(Attempt, record.value or b"")
            except SchemaError as error:
                if is_probe(record.value):
                    continue
                log.error("attempt_unreadable", partition=record.partition, offset=record.offset, reason=str(error))
                continue
            self._made.add(attempt.attempt_id)
            if record.offset < starts[record.partition]:
                continue  # its commit knows that the record which it settles is settled
            tails[record.partition].add((attempt.source_topic, attempt.source_partition), attempt.source_offset)
        self._tails |= tails
        log.info("attempts_read", partitions=len(ends), attempts=len(records))

    def attempts_seen(self, place: Place, is_settled: IsSettled) -> int | None:
        """See `connectors.sink.Bookmark`."""
        topic, partition = place
        tail = self._tails.get(partition) if topic == self._lead else None
        return None if tail is None else tail.find_seen(is_settled)

    def revoked(self, places: Sequence[Place]) -> None:
        """Forget partitions that belong to another process now."""
        for topic, partition in places:
            if topic == self._lead:
                self._tails.pop(partition, None)
