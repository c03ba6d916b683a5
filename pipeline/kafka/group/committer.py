"""Commits of offsets, each with the reader's note and the id of the topic it counts in."""

from collections.abc import Mapping

import structlog
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from pipeline.kafka.commit_metadata import join_note
from pipeline.kafka.group.assigned import Assigned
from pipeline.kafka.group.clients import Clients
from pipeline.kafka.group.handover import Handover
from pipeline.kafka.group.requests import Requests
from pipeline.kafka.partitions import make_part
from pipeline.kafka.record import Committed, Place
from pipeline.metrics import CommitResult

# The group rebalanced; the partition's new owner commits from here.
SUPERSEDED = frozenset(
    {
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.FENCED_INSTANCE_ID,
    }
)

log = structlog.get_logger()


class Committer:
    """Commits from the consumer's thread."""

    def __init__(self, requests: Requests, clients: Clients, assigned: Assigned, handover: Handover) -> None:
        self._requests = requests
        self._clients = clients
        self._assigned = assigned
        self._handover = handover

    def commit_requested(self) -> None:
        """Commit what the loop asks for. Does not wait for Kafka's answer."""
        commits = self._requests.commits
        while commits:
            commit = commits.popleft()
            if self._handover.counts_now(commit.faults_met):
                self._commit(commit.offsets, wait=False)
            else:
                self._handover.tell_commit("failed")

    def commit_last(self, offsets: Mapping[Place, Committed]) -> None:
        """Commit for partitions that go, and wait for Kafka's answer."""
        self._commit(offsets, wait=True)

    def _commit(self, offsets: Mapping[Place, Committed], *, wait: bool) -> None:
        reached = self._assigned.reached
        parts = [
            make_part(
                place,
                committed.offset,
                metadata=join_note(self._assigned.origins.find(place), committed.metadata),
                epoch=reached[place].epoch,
            )
            for place, committed in offsets.items()
            if place in reached
        ]
        if not parts:
            return
        try:
            if wait:
                self._clients.group.commit(offsets=parts, asynchronous=False)
                note_commit(self._handover, None, parts)
            else:
                self._clients.group.commit(offsets=parts, asynchronous=True)
        except KafkaException as error:
            note_commit(self._handover, error.args[0], parts)


def note_commit(handover: Handover, error: KafkaError | None, partitions: list[TopicPartition]) -> None:
    """Tell the loop how a commit ended. The client calls it as well, from the consumer's thread."""
    result: CommitResult = "ok"
    if error is not None:
        result = "superseded" if error.code() in SUPERSEDED else "failed"
        log.warning("commit_failed", result=result, reason=error.str(), partitions=len(partitions))
    handover.tell_commit(result)
