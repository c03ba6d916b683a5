"""The thread that owns a consumer's clients: what it does in a turn, and in which order. Nothing here is the loop's.

One thread, because confluent-kafka serialises the calls on a handle without fairness: a commit from another thread can
wait for ever behind `poll`. The thread decides nothing about records; what needs no decision it does without the loop:
it pauses everything while too much is in flight, and leaves records of delayed topics in Kafka until they are due.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from pipeline.config import KafkaConfig
from pipeline.kafka.group.assigned import Assigned
from pipeline.kafka.group.clients import Clients
from pipeline.kafka.group.committer import Committer, note_commit
from pipeline.kafka.group.delays import Delays
from pipeline.kafka.group.detours import Detours
from pipeline.kafka.group.former import Former, MemberFile
from pipeline.kafka.group.gaps import Gaps
from pipeline.kafka.group.handover import Handover
from pipeline.kafka.group.in_flight import InFlight
from pipeline.kafka.group.loop_side import LoopSide
from pipeline.kafka.group.membership import Membership
from pipeline.kafka.group.pauses import Pauses
from pipeline.kafka.group.reading import Reading
from pipeline.kafka.group.repairs import Repairs
from pipeline.kafka.group.requests import Requests
from pipeline.kafka.group.standing import Standing
from pipeline.kafka.options import consumer_options
from pipeline.kafka.topic_ids import Origins, TopicIds
from pipeline.topics import Topic

POLL_S = 0.1
# while everything is paused nothing wakes `poll`: look again soon
PAUSED_POLL_S = 0.005
# while there are many retries and the loop is behind or has enough: long enough not to spin, short enough to go on soon
KEEP_UP_S = 0.002
LINGER_BYTES = 256 * 1024
ENDS_INTERVAL_S = 2.0


class ConsumerThread:
    """`run` is the thread's function."""

    def __init__(
        self,
        config: KafkaConfig,
        *,
        standing: Standing,
        member: str | None,
        topics: Sequence[Topic],
        companions: Sequence[Topic],
        linger_s: float,
        in_flight: InFlight,
        requests: Requests,
        side: LoopSide,
        clock_us: Callable[[], int],
        ids: TopicIds | None,
        reads_traces: bool,
        run_dir: Path | None,
    ) -> None:
        handover = Handover(asyncio.get_running_loop(), side)

        def on_commit(error: KafkaError | None, partitions: list[TopicPartition]) -> None:
            note_commit(handover, error, partitions)

        group = standing.group
        options = consumer_options(
            config, group=group, member=member, linger_s=linger_s, linger_bytes=LINGER_BYTES, hear=standing.hear
        )
        clients = Clients(options, companions, on_commit=on_commit)
        assigned = Assigned(Delays(companions), Origins(ids))
        pauses = Pauses(clients, in_flight, assigned)
        detours = Detours(config, clients, in_flight, assigned, pauses, handover, clock_us, reads_traces=reads_traces)
        repairs = Repairs(config, ids, clients, assigned, pauses, detours, handover)
        committer = Committer(requests, clients, assigned, handover)
        self._requests, self._in_flight, self._handover = requests, in_flight, handover
        self._clients, self._assigned, self._pauses = clients, assigned, pauses
        self._detours, self._repairs, self._committer = detours, repairs, committer
        self._gaps = Gaps(requests, clients, handover)
        self._membership = Membership(
            config,
            topics,
            companions,
            clients=clients,
            assigned=assigned,
            detours=detours,
            repairs=repairs,
            committer=committer,
            handover=handover,
            former=Former(config, group, MemberFile(run_dir, group)),
            standing=standing,
        )
        self._reading = Reading(
            clients=clients,
            in_flight=in_flight,
            assigned=assigned,
            pauses=pauses,
            repairs=repairs,
            handover=handover,
            clock_us=clock_us,
            reads_traces=reads_traces,
        )

    @property
    def polled_at_s(self) -> float:
        """Time of the last poll, by the monotonic clock. May be read on the loop."""
        return self._reading.polled_at_s

    def run(self) -> None:
        """Join the group, read until the loop asks to close, leave the group."""
        error: BaseException | None = None
        try:
            self._membership.join()
            measured_at_s = 0.0
            while not self._requests.closing.is_set():
                self._turn()
                if self._reading.polled_at_s - measured_at_s > ENDS_INTERVAL_S:
                    measured_at_s = self._reading.polled_at_s
                    self._look_around()
        except BaseException as caught:  # handed to the loop, which ends the process
            error = caught
        finally:
            self._repairs.close()
            self._detours.close()
            closing_error = self._clients.close()
            if closing_error is None:
                self._membership.note_left()
            # the error that ended the work says more than one of closing
            self._handover.end(error or closing_error)

    def _turn(self) -> None:
        self._committer.commit_requested()
        self._pauses.apply_back_pressure()
        self._pauses.wake_delayed()
        self._repairs.apply_answers()
        self._detours.go_on(time.monotonic())
        self._reading.read_new(self._choose_wait_s())
        self._reading.read_retries()

    def _look_around(self) -> None:
        self._membership.note_member()
        self._gaps.explain()
        self._repairs.find_made_again()
        self._measure_ends()

    def _choose_wait_s(self) -> float:
        """How long to wait for new records."""
        if self._in_flight.is_full or self._requests.commits or self._detours.are_busy:
            return PAUSED_POLL_S
        if self._reading.has_more_retries:
            return 0.0 if self._reading.may_read_retries else KEEP_UP_S
        wake_s = self._assigned.delays.next_s
        return POLL_S if wake_s is None else min(POLL_S, max(0.0, wake_s - time.monotonic()))

    def _measure_ends(self) -> None:
        ends = {}
        for place in self._assigned.reached:
            try:
                _, end = self._clients.find(place[0]).get_watermark_offsets(TopicPartition(*place), cached=True)
            except KafkaException:
                continue  # nothing has been fetched of it yet
            if end >= 0:
                ends[place] = end
        self._repairs.find_stalled(ends)
        self._handover.tell_ends(ends)
