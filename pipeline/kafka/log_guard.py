"""Is the log still the one that was read? Asked for a reader whose client does not ask by itself (aiokafka).

A position is kept with the topic's id and the epoch of the partition's leader, in memory and in the commit's metadata.
Another id means another topic. When the epoch has changed, or the log ends before the position, the end of that epoch
says where the log was cut off. If the log begins behind the position, its head is lost. Records behind the first one of
an open transaction cannot be read until it ends.
"""

import asyncio
import re
import time
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import structlog
from confluent_kafka import Consumer, IsolationLevel, KafkaException, TopicPartition

from pipeline.config import KafkaConfig
from pipeline.kafka.commit_metadata import join_note, split_note
from pipeline.kafka.damage.cuts import is_there
from pipeline.kafka.options import open_admin, probe_options
from pipeline.kafka.partitions import EARLIEST, LATEST, End, ask_ends, find_committed
from pipeline.kafka.read_faults import ReadFault
from pipeline.kafka.record import Place
from pipeline.kafka.recovery import Reached, find_cuts
from pipeline.kafka.topic_ids import Origins, TopicIds, describe_other

# epoch=3@120,134:1764550000123: under which leader the log was up to which offset, and the last record read since then
NOTE = re.compile(r"epoch=(?P<epoch>\d+)(@(?P<up_to>\d+))?(,(?P<last>\d+):(?P<time_ms>\d+))?")
# a transaction that is open for longer is no producer at work
OPEN_MAX_S = 5.0

log = structlog.get_logger()


class RecordTime(NamedTuple):
    """Which record lies at an offset: brokers give the times, in milliseconds, of an events topic."""

    offset: int
    timestamp_ms: int


class Commit(NamedTuple):
    """A commit, the offset up to which the log was looked at before, its leader's epoch then, what was read since."""

    offset: int
    looked_at: int
    epoch: int
    reads: Sequence[RecordTime]


class Finding(NamedTuple):
    """The finding of one look at the log. Nothing of it counts until the reader has acted on it (`LogGuard.accept`).

    `doubts`: where reading begins again although nothing is known to be lost: under which leader the records behind it
    were written that were read is not known.
    """

    faults: list[ReadFault]
    doubts: dict[Place, int]
    reached: dict[Place, Reached]
    topic_ids: dict[Place, str | None]
    ends: dict[Place, int]  # of what may be read: before an open transaction


class LogGuard:
    """Guards the partitions of one group's reader.

    A look takes a while, and partitions may be taken away meanwhile. A fault that was noted then and not acted on would
    never be seen again.
    """

    def __init__(self, config: KafkaConfig, *, group: str, ids: TopicIds) -> None:
        self._config = config
        self._group = group
        self._admin = open_admin(config)
        self._origins = Origins(ids)
        self._seen: dict[Place, Reached] = {}
        self._former: dict[Place, TopicPartition] = {}  # commits of before, of partitions that were not looked at yet
        self.held: dict[Place, int] = {}  # offsets that are written and that an open transaction holds back
        self._held_since_s: dict[Place, float] = {}

    def check(self) -> str | None:
        """Health: None, or which partitions an open transaction holds back."""
        now_s = time.monotonic()
        held = {place: now_s - since_s for place, since_s in self._held_since_s.items() if now_s - since_s > OPEN_MAX_S}
        return (
            "; ".join(
                f"{topic} [{partition}] cannot be read on for {held_s:.0f} s: a producer's transaction is open"
                for (topic, partition), held_s in sorted(held.items())
            )
            or None
        )

    def forget(self) -> None:
        """Forget partitions that were taken away."""
        for place in self._seen:
            self._origins.forget(place)
        self._seen.clear()
        self._former = {}  # not cleared: a thread may be about to note what it was before

    async def read_former(self, places: Collection[Place]) -> None:
        """Read the commits of before, which the first own one replaces: to be awaited before it.

        They say up to where the log was looked at. Raises `KafkaException` when Kafka does not answer.
        """
        # again when partitions were taken away meanwhile, and came back
        while new := [place for place in places if place not in self._seen and place not in self._former]:
            await asyncio.to_thread(self._read_former, new)

    def note_for(self, place: Place, last: RecordTime | None) -> str:
        """The note for the metadata of a commit. `last`: the last record that was read since the log was looked at.

        Until the log was looked at, what the commit of before says of it is handed on. Raises `KeyError` when that
        was not read.
        """
        seen = self._seen.get(place)
        if seen is not None:
            note = "" if seen.epoch is None else format_note(seen.epoch, seen.offset, last)
            return join_note(self._origins.find(place), note)
        former = self._former[place]
        topic_id, note = split_note(former.metadata)
        commit = parse_commit(former.offset, note)
        if commit is not None:
            note = format_note(commit.epoch, commit.looked_at, last or next(iter(commit.reads), None))
        return join_note(topic_id, note)

    async def look(self, positions: Mapping[Place, int], reads: Mapping[Place, Sequence[RecordTime]]) -> Finding:
        """Logs that have changed before these positions. For a partition seen for the first time: before its commit.

        `reads`: the last record of each fetch since the last look that was accepted, in their order.
        """
        try:
            return await asyncio.to_thread(self._look, positions, reads)
        except (KafkaException, TimeoutError) as error:
            log.warning("log_guard_waits", reason=str(error))
            # one that asks with an epoch of before goes on doing so (FENCED_LEADER_EPOCH)
            self._admin = open_admin(self._config)
            return Finding([], {}, {}, {}, {})

    def accept(self, finding: Finding) -> None:
        """Accept a finding: the reader goes on from there, and has reported its faults."""
        self._seen |= finding.reached
        self._former = {place: part for place, part in self._former.items() if place not in self._seen}
        for place, topic_id in finding.topic_ids.items():
            self._origins.accept(place, topic_id)

    def _look(self, positions: Mapping[Place, int], reads: Mapping[Place, Sequence[RecordTime]]) -> Finding:
        before = dict(self._seen)
        new = [place for place in positions if place not in before]
        # before the ends: another member may have gone on until a moment ago, and a broker may answer late
        committed = self._read_former(new) if new else {}
        ends, begins = ask_ends(self._admin, positions, LATEST), ask_ends(self._admin, positions, EARLIEST)
        self._note_held({place: end for place, (end, _) in ends.items() if positions[place] < end})
        if new:
            self._origins.refresh()
        # before they are compared: a topic that is made again in between differs at the next look
        topic_ids = {place: self._origins.present(place) for place in positions}
        faults, commits = self._begin(committed, begins, ends)
        suspects = {place: Reached(commit.looked_at, 0, commit.epoch) for place, commit in commits.items()}
        for place, seen in before.items():
            if place not in positions:
                continue
            position, (begin, _), (end, epoch) = positions[place], begins[place], ends[place]
            if self._origins.is_other(place):
                faults[place] = self._describe_other(place, self._origins.find(place), position, begins)
            elif position < begin:
                faults[place] = ReadFault(place, "head_lost", position, begin, f"the log begins at {begin}")
            elif seen.epoch is not None and (epoch != seen.epoch or end < position):
                suspects[place] = seen
        # A broker whose log was still short may have sent the client back before it was asked for its position.
        come_to = {
            place: max([positions[place], *(read.offset + 1 for read in reads.get(place, ()))]) for place in suspects
        }
        faults |= self._find_cuts(suspects, come_to)
        # Records read since the last look may be of that leader's epoch, and lost, or of the next one's, and kept.
        beyond = come_to | {place: commit.offset for place, commit in commits.items()}
        read_since = {
            place: seen._replace(offset=beyond[place])
            for place, seen in suspects.items()
            if place not in faults and seen.offset < beyond[place]
        }
        doubts: dict[Place, int] = {}
        for place, fault in self._find_cuts(read_since, come_to).items():
            # The first record read there decides: later ones may be new records at the same offsets. Of a commit only
            # the last one is known.
            known = commits[place].reads if place in commits else reads.get(place, ())
            decisive = next((read for read in known if read.offset >= fault.end), None)
            if decisive is not None and not is_there(self._config, place, *decisive):
                faults[place] = fault
            elif decisive is None or place in commits:
                doubts[place] = fault.end
        gone_back = doubts | {place: fault.end for place, fault in faults.items()}
        reached = {
            place: Reached(gone_back.get(place, positions[place]), 0, epoch if epoch >= 0 else None)
            for place, (_, epoch) in ends.items()
        }
        readable = {place: end - self.held.get(place, 0) for place, (end, _) in ends.items()}
        return Finding(list(faults.values()), doubts, reached, topic_ids, readable)

    def _find_cuts(self, suspects: Mapping[Place, Reached], come_to: Mapping[Place, int]) -> dict[Place, ReadFault]:
        if not suspects:
            return {}
        reached = {place: max(come_to[place], seen.offset) for place, seen in suspects.items()}
        return {
            cut.place: cut._replace(begin=reached[cut.place], lost=max(0, reached[cut.place] - cut.end))
            for cut in find_cuts(self._config, suspects)
        }

    def _note_held(self, ends: Mapping[Place, int]) -> None:
        """Note how many offsets open transactions hold back. `ends`: of partitions that are not read to their end."""
        readable = ask_ends(self._admin, ends, LATEST, isolation=IsolationLevel.READ_COMMITTED)
        self.held = {place: held for place, end in ends.items() if (held := end - readable[place][0]) > 0}
        now_s = time.monotonic()
        self._held_since_s = {place: self._held_since_s.get(place, now_s) for place in self.held}

    def _begin(
        self, found: Mapping[Place, TopicPartition], begins: Mapping[Place, End], ends: Mapping[Place, End]
    ) -> tuple[dict[Place, ReadFault], dict[Place, Commit]]:
        """Compare with commits: faults, and commits before which the log may have been cut off."""
        faults: dict[Place, ReadFault] = {}
        commits: dict[Place, Commit] = {}
        for place, part in found.items():
            topic_id, note = split_note(part.metadata)
            committed, commit = max(part.offset, 0), parse_commit(part.offset, note)
            if not self._origins.is_noted(place, topic_id):
                faults[place] = self._describe_other(place, topic_id, committed, begins)
            elif 0 < committed < begins[place][0]:
                begin, _ = begins[place]
                faults[place] = ReadFault(place, "head_lost", committed, begin, f"the log begins at {begin}")
            elif committed and commit is not None:
                commits[place] = commit
            elif committed > (end := ends[place].offset):  # set by hand: the client begins anew, and so do we
                reason = f"the log ends at {end}"
                faults[place] = ReadFault(place, "tail_lost", committed, begins[place].offset, reason, committed - end)
        return faults, commits

    @staticmethod
    def _describe_other(place: Place, topic_id: str | None, position: int, begins: Mapping[Place, End]) -> ReadFault:
        return ReadFault(place, "made_again", position, begins[place][0], describe_other(topic_id), lost=position)

    def _read_former(self, places: Collection[Place]) -> dict[Place, TopicPartition]:
        """The commits of before. Those that were read once stay: our own may have replaced them since."""
        former = self._former
        unread = [place for place in places if place not in former]
        for place, part in (self._find_commits(unread) if unread else {}).items():
            former.setdefault(place, part)
        return {place: former[place] for place in places}

    def _find_commits(self, places: list[Place]) -> dict[Place, TopicPartition]:
        consumer = Consumer(probe_options(self._config) | {"group.id": self._group}, logger=None)
        try:
            return find_committed(consumer, places)
        finally:
            consumer.close()


def format_note(epoch: int, looked_at: int, last: RecordTime | None) -> str:
    """A note that `NOTE` matches."""
    return f"epoch={epoch}@{looked_at}" + ("" if last is None else f",{last.offset}:{last.timestamp_ms}")


def parse_commit(offset: int, note: str) -> Commit | None:
    """The commit by its note; None: it says nothing. A note of before names no offset but the commit's own."""
    found = NOTE.fullmatch(note)
    if found is None:
        return None
    looked_at = min(offset, int(found["up_to"])) if found["up_to"] else offset
    reads = (RecordTime(int(found["last"]), int(found["time_ms"])),) if found["last"] else ()
    return Commit(offset, looked_at, int(found["epoch"]), reads)
