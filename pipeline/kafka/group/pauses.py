"""Which partitions are not fetched: all while too much is in flight, delayed ones until they are due."""

import time
from collections.abc import Iterable

from confluent_kafka import TopicPartition

from pipeline.kafka.group.assigned import Assigned
from pipeline.kafka.group.clients import Clients
from pipeline.kafka.group.in_flight import InFlight
from pipeline.kafka.record import LogRecord, Place


class Pauses:
    """Pauses of partitions. Belongs to the consumer's thread; decides nothing about records, so asks nothing."""

    def __init__(self, clients: Clients, in_flight: InFlight, assigned: Assigned) -> None:
        self._clients = clients
        self._in_flight = in_flight
        self._assigned = assigned

    @property
    def are_all(self) -> bool:
        """Is nothing fetched?"""
        return self._in_flight.is_full

    def apply_back_pressure(self) -> None:
        """Stop reading while too much is in flight."""
        if not self._in_flight.has_turned(time.monotonic()):
            return
        if self._in_flight.is_full:
            self._clients.pause(self._assigned.reached)
        else:
            self._clients.resume(self._assigned.list_moving())

    def wake_delayed(self) -> None:
        """Fetch delayed partitions again whose next record is due."""
        for place in self._assigned.delays.take_due(time.monotonic()):
            if not self._is_held(place):
                self._clients.resume([place])

    def leave(self, record: LogRecord, now_s: float, wait_us: int) -> bool:
        """Leave a record that is not due in Kafka, and all behind it. True when it must not be handed over."""
        place = (record.topic, record.partition)
        if place in self._assigned.delays:
            return True  # fetched before the seek took hold; it is read again
        if wait_us <= 0:
            return False
        self._clients.pause([place])
        self._clients.find(record.topic).seek(TopicPartition(*place, record.offset))
        self._assigned.delays.hold(place, now_s, wait_us)
        return True

    def start(self, places: Iterable[Place]) -> None:
        """Pause or resume partitions that were assigned.

        A client remembers across assignments that a partition is paused: a delayed one that comes back would otherwise
        never be read again.
        """
        (self._clients.pause if self._in_flight.is_full else self._clients.resume)(places)

    def stop(self, place: Place) -> None:
        """Stop a partition that cannot be read where it is."""
        self._assigned.stopped.add(place)
        self._clients.pause([place])

    def go_on(self, place: Place) -> None:
        """Let a partition go on, unless something else holds it."""
        self._assigned.stopped.discard(place)
        (self._clients.pause if self._is_held(place) else self._clients.resume)([place])

    def _is_held(self, place: Place) -> bool:
        return self._in_flight.is_full or place in self._assigned.delays or place in self._assigned.stopped
