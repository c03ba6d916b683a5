"""Polling: messages become records, errors go to `repairs`, records that are not due stay in Kafka."""

import time
from collections.abc import Callable, Sequence

from confluent_kafka import Consumer, KafkaError, Message

from pipeline.core.trace_context import pick_headers
from pipeline.kafka.group.assigned import Assigned
from pipeline.kafka.group.clients import Clients
from pipeline.kafka.group.handover import Handover
from pipeline.kafka.group.in_flight import InFlight
from pipeline.kafka.group.pauses import Pauses
from pipeline.kafka.group.repairs import Repairs
from pipeline.kafka.record import LogRecord, Place
from pipeline.kafka.recovery import Reached


class Reading:
    """Reading of partitions. Belongs to the consumer's thread."""

    def __init__(
        self,
        *,
        clients: Clients,
        in_flight: InFlight,
        assigned: Assigned,
        pauses: Pauses,
        repairs: Repairs,
        handover: Handover,
        clock_us: Callable[[], int],
        reads_traces: bool,
    ) -> None:
        self._clients = clients
        self._in_flight = in_flight
        self._assigned = assigned
        self._pauses = pauses
        self._repairs = repairs
        self._handover = handover
        self._clock_us = clock_us
        self._read = _read_traced if reads_traces else _read
        self._ended: list[tuple[Place, int]] = []  # partitions read to their end, where no record was the last
        self.polled_at_s = time.monotonic()
        self.has_more_retries = False  # the last look at retry topics found some

    def read_new(self, wait_s: float) -> None:
        """Read a batch of the group's topics, and hand it over."""
        self._hand_over(self._take(self._clients.group, wait_s), are_retries=False)

    def read_retries(self) -> None:
        """Read a batch of retry topics, without waiting, unless the loop is behind or has many of them."""
        if self._clients.retries is None or not self.may_read_retries:
            return
        messages = self._take(self._clients.retries, 0)
        self.has_more_retries = bool(messages)
        self._hand_over(messages, are_retries=True)

    @property
    def may_read_retries(self) -> bool:
        """Is there room for more retries?"""
        return not self._handover.is_loop_behind and not self._in_flight.has_many_companions

    def _take(self, client: Consumer, wait_s: float) -> list[Message]:
        first = client.poll(wait_s)
        self.polled_at_s = time.monotonic()
        if first is None:
            return []
        # `consume` with a time-out would wait all of it unless the batch were full
        more = self._in_flight.batch_max_records - 1
        return [first, *client.consume(more, 0)] if more else [first]

    def _hand_over(self, messages: Sequence[Message], *, are_retries: bool) -> None:
        records = self._read_due(messages)
        if records:
            self._in_flight.take(records)
            self._handover.hand(records, are_retries=are_retries)
        # behind the records that were read before
        for place, offset in self._ended:
            self._handover.tell_end(place, offset)
        self._ended.clear()

    def _read_due(self, messages: Sequence[Message]) -> list[LogRecord]:
        now_us = self._clock_us()
        reached, stopped = self._assigned.reached, self._assigned.stopped
        delays = self._assigned.delays
        records = []
        for message in messages:
            error = message.error()
            if error is not None:
                self._note_error(error, message)
                continue
            record = self._read(message)
            place = (record.topic, record.partition)
            if place in stopped:
                continue  # records behind a bad batch are read again, from an offset known to be good
            if not self._follows(place, record.offset):
                continue
            if record.topic in delays.by_topic_us:
                # of those behind one that is not due nothing is asked: they are read again
                wait_us = 0 if place in delays else delays.find_wait_us(record, now_us, self.polled_at_s)
                if self._pauses.leave(record, self.polled_at_s, wait_us):
                    continue
            if place in reached:  # a rebalance within this batch may have taken it away
                reached[place] = Reached(record.offset + 1, record.timestamp_us, message.leader_epoch())
            records.append(record)
        return records

    def _follows(self, place: Place, offset: int) -> bool:
        reached = self._assigned.reached.get(place)
        # one behind a record that is not due is read again
        if reached is None or offset == reached.offset or place in self._assigned.delays:
            return True
        return self._repairs.fits(place, offset)

    def _note_error(self, error: KafkaError, message: Message) -> None:
        if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - the library's name
            self._note_end(message)
        else:
            self._repairs.note_error(error, message)

    def _note_end(self, message: Message) -> None:
        place, offset = (message.topic() or "", message.partition() or 0), message.offset() or 0
        reached = self._assigned.reached.get(place)
        # Retry topics are left out: a record that is not due is read again, and only matcher and deliver write them.
        if reached is None or place in self._assigned.stopped or self._clients.is_companion(place[0]):
            return
        if offset > reached.offset:
            # ends of transactions may have been written under a later leader than the last record
            self._assigned.reached[place] = reached._replace(offset=offset, epoch=None)
            self._ended.append((place, offset))


def _read(message: Message) -> LogRecord:
    return LogRecord(
        message.topic() or "",
        message.partition() or 0,
        message.offset() or 0,
        message.key(),
        message.value(),
        message.timestamp()[1] * 1000,
    )


def _read_traced(message: Message) -> LogRecord:
    return _read(message)._replace(trace=pick_headers(message.headers()))
