"""Was a log cut off behind its reader? Asked for a reader whose client does not ask by itself (aiokafka).

With a position goes the epoch of the leader that the partition had then, in memory and in the commit's metadata. When
the epoch changes, or the log ends before the position, the end of that epoch says where it was cut off.
"""

import asyncio
from collections.abc import Mapping

import structlog
from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from pipeline.config import KafkaConfig
from pipeline.kafka.options import connect_options, probe_options
from pipeline.kafka.partitions import find_committed
from pipeline.kafka.read_faults import ReadFault
from pipeline.kafka.record import Place
from pipeline.kafka.recovery import Reached, find_cuts

ANSWER_TIMEOUT_S = 5.0
NOTE = "epoch="

log = structlog.get_logger()


class LogGuard:
    """Of the partitions of one group's reader."""

    def __init__(self, config: KafkaConfig, *, group: str) -> None:
        self._config = config
        self._group = group
        self._admin = AdminClient(dict(connect_options(config)), logger=None)
        self._seen: dict[Place, Reached] = {}

    def forget(self) -> None:
        """Partitions were taken away."""
        self._seen.clear()

    def note_for(self, place: Place) -> str:
        """For the metadata of a commit."""
        seen = self._seen.get(place)
        return "" if seen is None or seen.epoch is None else f"{NOTE}{seen.epoch}"

    async def look(self, positions: Mapping[Place, int]) -> list[ReadFault]:
        """Which logs were cut off before these positions. Of a partition seen for the first time: before its commit.

        A fault without a reason is only a suspicion: its leader has changed since the look before, so that what was
        read after that look is to be read again.
        """
        try:
            return await asyncio.to_thread(self._look, positions)
        except (KafkaException, TimeoutError) as error:
            log.warning("log_guard_waits", reason=str(error))
            # one that asks with an epoch of before goes on doing so (FENCED_LEADER_EPOCH)
            self._admin = AdminClient(dict(connect_options(self._config)), logger=None)
            return []

    def _look(self, positions: Mapping[Place, int]) -> list[ReadFault]:
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # the library's has no types
        asked = {TopicPartition(*place): latest for place in positions}
        ends: dict[Place, tuple[int, int]] = {}
        for part, future in self._admin.list_offsets(asked, request_timeout=ANSWER_TIMEOUT_S).items() if asked else ():
            found = future.result(ANSWER_TIMEOUT_S * 2)
            ends[part.topic, part.partition] = (found.offset, found.leader_epoch)
        new = [place for place in positions if place not in self._seen]
        suspects = self._find_commits(new)
        for place, (end, epoch) in ends.items():
            seen = self._seen.get(place)
            if seen is not None and seen.epoch is not None and (epoch != seen.epoch or end < positions[place]):
                suspects[place] = seen
        cuts = {fault.place: fault for fault in find_cuts(self._config, suspects)} if suspects else {}
        faults = []
        for place, (_, epoch) in ends.items():
            position = positions[place]
            cut = cuts.get(place)
            if cut is not None:
                faults.append(cut._replace(begin=position))
                position = cut.end
            elif place in suspects and place not in new and suspects[place].offset < position:
                position = suspects[place].offset
                faults.append(ReadFault(place, "tail_lost", positions[place], position, ""))
            self._seen[place] = Reached(position, 0, epoch if epoch >= 0 else None)
        return faults

    def _find_commits(self, places: list[Place]) -> dict[Place, Reached]:
        if not places:
            return {}
        consumer = Consumer(probe_options(self._config) | {"group.id": self._group}, logger=None)
        try:
            found = find_committed(consumer, places)
        finally:
            consumer.close()
        return {
            place: Reached(part.offset, 0, int(epoch))
            for place, part in found.items()
            if part.offset > 0 and (epoch := (part.metadata or "").removeprefix(NOTE)).isdigit()
        }
