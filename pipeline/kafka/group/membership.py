"""Rebalances of the group: the client calls these from within `poll`, in the consumer's thread."""

from collections.abc import Iterable, Sequence

import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from pipeline.config import KafkaConfig
from pipeline.kafka.commit_metadata import split_note
from pipeline.kafka.group.assigned import Assigned
from pipeline.kafka.group.clients import Clients
from pipeline.kafka.group.committer import Committer
from pipeline.kafka.group.detours import Detours
from pipeline.kafka.group.former import Former
from pipeline.kafka.group.handover import Handover
from pipeline.kafka.group.repairs import Repairs
from pipeline.kafka.group.standing import Standing
from pipeline.kafka.partitions import find_committed, find_ends
from pipeline.kafka.read_faults import ReadFault
from pipeline.kafka.record import Committed, Place
from pipeline.kafka.recovery import Reached
from pipeline.kafka.topic_ids import describe_other
from pipeline.topics import Topic

log = structlog.get_logger()


class Membership:
    """Companions are assigned by hand: the same partitions as those of the first topic, as far as they are declared.

    A topic that was grown has more.
    """

    def __init__(
        self,
        config: KafkaConfig,
        topics: Sequence[Topic],
        companions: Sequence[Topic],
        *,
        clients: Clients,
        assigned: Assigned,
        detours: Detours,
        repairs: Repairs,
        committer: Committer,
        handover: Handover,
        former: Former,
        standing: Standing,
    ) -> None:
        self._config = config
        self._topics = topics
        self._companions = companions
        self._clients = clients
        self._assigned = assigned
        self._detours = detours
        self._repairs = repairs
        self._committer = committer
        self._handover = handover
        self._former = former
        self._standing = standing

    def join(self) -> None:
        """Subscribe. The first rebalance comes with a later `poll`."""
        self._former.leave()
        self._clients.learn_leaders()
        names = [topic.name for topic in self._topics]
        self._clients.group.subscribe(
            names, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    def note_member(self) -> None:
        """Note the member id. Called regularly: a session may have ended, and another one begun."""
        self._former.note(self._clients.group.memberid() or "")

    def note_left(self) -> None:
        """Note that this process is no member any more."""
        self._former.close()

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._standing.note(is_member=True)  # the client says so when this has returned, which may wait for PostgreSQL
        self.note_member()
        places = self._add_companions(partitions)
        if not places:
            return
        found = find_committed(consumer, places)
        self._assigned.origins.refresh()
        committed: dict[Place, Committed | None] = {}
        others = []
        for place, part in found.items():
            topic_id, note = split_note(part.metadata)
            is_same = self._assigned.origins.begin(place, topic_id)
            committed[place] = Committed(part.offset, note) if part.offset >= 0 and is_same else None
            if not is_same:
                position = max(part.offset, 0)
                others.append(ReadFault(place, "made_again", position, 0, describe_other(topic_id), lost=position))
        starts = self._handover.ask_assigned(committed)
        for fault in others:
            if fault.place not in starts:
                self._handover.tell_anew(fault)
        begins: dict[Place, int] = {}
        for place in places:
            known = committed[place]
            begins[place] = starts.get(place, known.offset if known is not None else OFFSET_BEGINNING)
            is_committed = known is not None and known.offset == begins[place]
            epoch = found[place].leader_epoch if is_committed else None
            self._assigned.reached[place] = Reached(max(begins[place], 0), 0, epoch)
        self._detours.assign(begins, find_ends(consumer, places, self._config))
        # An epoch says something about the commit that it came with. A reader that keeps its position itself may have
        # gone on since, or back behind a loss that it has met.
        self._repairs.verify(
            {
                place: Reached(known.offset, 0, found[place].leader_epoch)
                for place, known in committed.items()
                if known is not None and known.offset <= begins[place]
            }
        )

    def _on_revoke(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        places = self._choose_assigned(partitions)
        if places:
            self._committer.commit_last(self._handover.ask_revoked(places))
            self._let_go(places)

    def _on_lost(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        places = self._choose_assigned(partitions)
        if places:
            log.warning("partitions_lost", partitions=len(places))
            self._handover.tell_lost(places)
            self._let_go(places)

    def _let_go(self, places: Sequence[Place]) -> None:
        self._detours.forget(places)
        self._assigned.forget(places)
        self._clients.unassign(places)

    def _add_companions(self, partitions: Iterable[TopicPartition]) -> list[Place]:
        lead = self._topics[0].name
        places = [(part.topic, part.partition) for part in partitions]
        return places + [
            (companion.name, number)
            for topic, number in places
            if topic == lead
            for companion in self._companions
            if number < companion.partitions
        ]

    def _choose_assigned(self, partitions: Iterable[TopicPartition]) -> list[Place]:
        return sorted(set(self._add_companions(partitions)) & self._assigned.reached.keys())
