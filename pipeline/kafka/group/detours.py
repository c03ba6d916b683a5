"""Partitions that librdkafka does not fetch yet: what comes next is looked at first, and read by its bytes if damaged.

librdkafka 2.16 aborts the process at some damaged batches, and would meet them again after each restart. Therefore a
partition with a backlog is looked at when it is assigned, as far as the reader before may have come with it.
"""

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING

import structlog

from pipeline.aside import Aside
from pipeline.config import KafkaConfig
from pipeline.kafka.group.assigned import Assigned
from pipeline.kafka.group.clients import Clients
from pipeline.kafka.group.handover import Handover
from pipeline.kafka.group.in_flight import InFlight
from pipeline.kafka.group.pauses import Pauses
from pipeline.kafka.partitions import make_part
from pipeline.kafka.read_faults import ReadFault
from pipeline.kafka.record import LogRecord, Place
from pipeline.kafka.recovery import Reached

if TYPE_CHECKING:
    from pipeline.kafka.damage.way import Part, Stretch, Way, Ways

# What a client may have fetched beyond the records in flight: its queue, and an answer for each of some partitions.
READ_AHEAD_BYTES = 64 * 1024 * 1024
AGAIN_AFTER_S = 0.2
SILENT_AGAIN_AFTER_S = 1.0

log = structlog.get_logger()


class Detour:
    """The detour of one partition. `way`: None: it is not known yet whether there must be one."""

    __slots__ = ("again_at_s", "fault", "finding", "is_last", "is_suspect", "reading", "records", "start", "way")

    def __init__(self, start: int, *, is_suspect: bool) -> None:
        self.start = start
        self.is_suspect = is_suspect  # its client cannot read what comes next
        self.way: Way | None = None
        self.finding: Future[Part] | None = None
        self.reading: Future[Stretch] | None = None
        self.records: deque[LogRecord] = deque()
        self.fault: ReadFault | None = None
        self.is_last = False
        self.again_at_s = 0.0  # the log has no more at present, or does not answer

    @property
    def future(self) -> "Future[Part] | Future[Stretch] | None":
        """The answer that the detour waits for."""
        return self.finding or self.reading


class Detours:
    """Detours around damage. Belongs to the consumer's thread; the log is looked at in a thread of its own."""

    def __init__(
        self,
        config: KafkaConfig,
        clients: Clients,
        in_flight: InFlight,
        assigned: Assigned,
        pauses: Pauses,
        handover: Handover,
        clock_us: Callable[[], int],
        *,
        reads_traces: bool,
    ) -> None:
        self._config = config
        self._reads_traces = reads_traces
        self._clients = clients
        self._in_flight = in_flight
        self._assigned = assigned
        self._pauses = pauses
        self._handover = handover
        self._clock_us = clock_us
        self._aside = Aside("detours")
        self._ways: Ways | None = None  # of that thread
        self._detours: dict[Place, Detour] = {}
        self._reach_bytes = in_flight.bytes_max + READ_AHEAD_BYTES

    @property
    def are_busy(self) -> bool:
        """Has a detour work to do now?"""
        delays, now_s = self._assigned.delays, time.monotonic()
        return any(place not in delays and each.again_at_s < now_s for place, each in self._detours.items())

    def assign(self, starts: Mapping[Place, int], ends: Mapping[Place, int]) -> None:
        """Begin assigned partitions: fetch those without a backlog, and look at the others' logs first.

        `ends`: the end of each. A partition that is not in it has no leader; it counts as one without a backlog.
        """
        reached = self._assigned.reached
        behind = {place for place in starts if reached[place].offset < ends.get(place, 0)}
        self._clients.assign(
            [
                # at its end there is nothing to be fetched
                make_part(place, ends[place])
                if place in behind
                else make_part(place, start, epoch=reached[place].epoch)
                for place, start in starts.items()
            ]
        )
        self._pauses.start(place for place in starts if place not in behind)
        # they are looked at one after the other, and retries are late already
        for place in sorted(behind, key=lambda place: self._clients.is_companion(place[0])):
            self.begin(place, starts[place])

    def begin(self, place: Place, start: int, *, is_suspect: bool = False) -> None:
        """Look at what comes next before it is fetched. `is_suspect`: the partition's client could not read it."""
        self.forget([place])
        self._pauses.stop(place)
        self._detours[place] = Detour(start, is_suspect=is_suspect)

    def forget(self, places: Sequence[Place]) -> None:
        """End the detours of partitions that other members read now."""
        for place in places:
            detour = self._detours.pop(place, None)
            if detour is not None and detour.future is not None:
                detour.future.cancel()

    def go_on(self, now_s: float) -> None:
        """Hand over records that were read and are due, and ask for more."""
        for place, detour in list(self._detours.items()):
            if place not in self._assigned.delays and detour.again_at_s < now_s:
                self._go_on(place, detour, now_s)

    def close(self) -> None:
        """End all detours."""
        self._aside.call(self._close_ways)
        self._aside.close()

    def _go_on(self, place: Place, detour: Detour, now_s: float) -> None:
        if detour.future is not None:
            if not detour.future.done():
                return
            self._take_answer(place, detour, now_s)
        self._hand_over(place, detour, now_s)
        is_idle = self._detours.get(place) is detour and detour.future is None and not detour.records
        if is_idle and detour.again_at_s < now_s:
            self._ask(place, detour)

    def _ask(self, place: Place, detour: Detour) -> None:
        if detour.way is not None:
            detour.reading = self._aside.call(detour.way.read_on)
            return
        position = self._assigned.reached[place].offset
        detour.finding = self._aside.call(lambda: self._find(place, position, detour))

    def _take_answer(self, place: Place, detour: Detour, now_s: float) -> None:
        finding, reading, detour.finding, detour.reading = detour.finding, detour.reading, None, None
        try:
            if finding is not None:
                begin, detour.way = finding.result()
                if detour.way is None:
                    # the client would ask where the log begins: behind the fetch under way, and fetch after another one
                    self._leave(place, begin if detour.start < 0 else detour.start)
                elif begin > detour.start >= 0:
                    detour.fault = ReadFault(place, "head_lost", detour.start, begin, f"the log begins at {begin}")
            elif reading is not None:
                stretch = reading.result()
                detour.records.extend(stretch.records)
                detour.fault, detour.is_last = stretch.fault, stretch.is_last
                if not (stretch.records or stretch.fault or stretch.is_last):
                    detour.again_at_s = now_s + AGAIN_AFTER_S
        except TimeoutError as error:  # asked again
            detour.again_at_s = now_s + SILENT_AGAIN_AFTER_S
            log.warning("detour_waits", topic=place[0], partition=place[1], reason=str(error))

    def _hand_over(self, place: Place, detour: Detour, now_s: float) -> None:
        are_retries = self._clients.is_companion(place[0])
        if self._pauses.are_all or (are_retries and self._handover.is_loop_behind):
            return
        records = self._take_due(place, detour, now_s)
        if records:
            last = records[-1]
            self._in_flight.take(records)
            self._assigned.reached[place] = Reached(last.offset + 1, last.timestamp_us)
            self._handover.hand(records, are_retries=are_retries)
        if detour.records or self._detours.get(place) is not detour:
            return
        if detour.fault is not None:
            self._meet(place, detour.fault)
            detour.fault = None
        if detour.is_last:
            self._leave(place, self._assigned.reached[place].offset)

    def _take_due(self, place: Place, detour: Detour, now_s: float) -> list[LogRecord]:
        delays, now_us = self._assigned.delays, self._clock_us()
        due: list[LogRecord] = []
        while detour.records and len(due) < self._in_flight.batch_max_records:
            wait_us = delays.find_wait_us(detour.records[0], now_us, now_s)
            if wait_us > 0:
                delays.hold(place, now_s, wait_us)
                break
            due.append(detour.records.popleft())
        return due

    def _meet(self, place: Place, fault: ReadFault) -> None:
        reached = self._assigned.reached[place]
        self._handover.tell_fault(fault)
        self._assigned.reached[place] = reached._replace(offset=fault.end, epoch=None)

    def _leave(self, place: Place, position: int) -> None:
        """Leave the detour: the partition's client goes on from here."""
        del self._detours[place]
        self._clients.move(place, position, self._assigned.reached[place].epoch)
        self._pauses.go_on(place)

    # In the thread aside.

    def _find(self, place: Place, position: int, detour: Detour) -> "Part":
        return self._open_ways().find(place, position, self._reach_bytes, is_suspect=detour.is_suspect)

    def _open_ways(self) -> "Ways":
        if self._ways is None:
            from pipeline.kafka.damage.way import Ways  # aiokafka takes 0.3 s to import

            self._ways = Ways(self._config, reads_traces=self._reads_traces)
        return self._ways

    def _close_ways(self) -> None:
        if self._ways is not None:
            self._ways.close()
