"""Commits: the watermark of each partition, and a note of the offsets settled beyond it."""

import asyncio
import time
from collections.abc import Callable, Container, Iterable, Mapping

from connectors.runtime.owned import Owned
from connectors.runtime.partition import Partition
from connectors.sink import Bookmark, Place
from pipeline.config import WorkerConfig
from pipeline.core.log.commit_note import CommitNote, fits, format_note, parse_note
from pipeline.kafka.record import Committed
from pipeline.metrics import CommitResult, Metrics


class Commits:
    """Commits the partitions that have changed since the last commit, regularly."""

    def __init__(
        self,
        owned: Owned,
        *,
        commit: Callable[[Mapping[Place, Committed]], None],
        bookmark: Bookmark | None,
        config: WorkerConfig,
        metrics: Metrics,
    ) -> None:
        """`commit`: hands offsets to the consumer."""
        self._owned = owned
        self._commit = commit
        self._bookmark = bookmark
        self._config = config
        self._metrics = metrics
        self._committed: dict[Place, Committed] = {}
        self._is_owed = False  # the last commit failed: everything is committed again

    async def run(self) -> None:
        """Commit until cancelled."""
        all_at_s = time.monotonic()
        while True:
            await asyncio.sleep(self._config.commit_interval_s)
            if time.monotonic() - all_at_s > self._config.commit_all_interval_s:
                # Kafka forgets commits of topics that the group is not subscribed to (the tiers) after a time
                all_at_s = time.monotonic()
                self._is_owed = True
            changed = {
                place: offsets
                for place, offsets in self.describe(self._owned).items()
                if self._is_owed or self._committed.get(place) != offsets
            }
            if changed:
                self._committed |= changed
                self._commit(changed)
            self._is_owed = False

    def ended(self, result: CommitResult) -> None:
        """A commit has succeeded or failed."""
        self._metrics.commits_total.labels(result).inc()
        self._is_owed |= result == "failed"

    def note(self, place: Place, committed: Committed) -> None:
        """The group's last commit, as read when the partition was assigned."""
        self._committed[place] = committed

    def forget(self, place: Place) -> None:
        """The last commit does not describe the records read from here on."""
        self._committed.pop(place, None)

    def describe(self, partitions: Iterable[Partition]) -> dict[Place, Committed]:
        """The offsets and notes to commit for these partitions now."""
        overflowing = self._find_overflowing()
        return {partition.place: self._describe(partition, overflowing) for partition in partitions}

    def _find_overflowing(self) -> set[int]:
        """Numbers of partitions of which, in one topic or another, more is completed than a note can hold."""
        return {
            partition.place[1]
            for partition in self._owned
            if not fits(partition.mark.committable, partition.mark.completed_beyond())
        }

    def _describe(self, partition: Partition, overflowing: Container[int]) -> Committed:
        """The offset and note of one partition.

        While the completed offsets do not fit into a note, it repeats those of the last note, and the offset in the
        attempts topic that went with them: the attempts from there on name the records completed since. The attempts
        of a retry are in the attempts partition of its number, and the lead topic commits one offset for all.
        """
        offset, done = partition.mark.committable, partition.mark.completed_beyond()
        seen = None
        if self._bookmark is not None:
            seen = self._bookmark.attempts_seen(partition.place, self._owned.is_settled)
        if partition.place[1] in overflowing:
            before = self._committed.get(partition.place)
            note = parse_note(before.offset, before.metadata) if before is not None else CommitNote()
            done = [(max(first, offset), end) for first, end in note.done if end > offset]
            seen = note.attempts_offset
        return Committed(offset, format_note(offset, CommitNote(done=tuple(done), attempts_offset=seen)))
