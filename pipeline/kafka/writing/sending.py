"""Records given to the clients, and the answer to each.

A broker refuses a whole batch for one of its records. Those records are written once more, by a client whose batches
have one record; only a refusal there is final.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, KafkaError, KafkaException, Message, Producer

from pipeline.core.trace_context import pick_headers
from pipeline.kafka.acknowledged import Acknowledged
from pipeline.kafka.failures import (
    KafkaUnavailableError,
    RecordRefusedError,
    TopicRefusedError,
    ToSend,
    is_fatal,
    is_of_one_of_its_batch,
    name_failure,
    trace,
)
from pipeline.kafka.log_clock import LogClock, monotonic_us
from pipeline.kafka.writing.clients import Clients
from pipeline.kafka.writing.pace import StepPace
from pipeline.kafka.writing.refusals import Refusals
from pipeline.kafka.writing.unacknowledged import Placement, Unacknowledged
from pipeline.metrics import Metrics
from pipeline.topics import Topic

# the loop's clock stands still during a turn
LOOP_RESOLUTION_US = 2000


class Sending:
    """`clock`: learns from acknowledgements when records were appended."""

    def __init__(
        self,
        options: Mapping[str, str | int | float | bool],
        metrics: Metrics,
        pace: StepPace,
        clock: LogClock | None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._metrics = metrics
        self._pace = pace
        self._clock = clock
        self._newest: tuple[Message, float] | None = None  # acknowledged, and when it was handed over
        self._counts: Counter[tuple[str | None, bool]] = Counter()  # acknowledgements by topic and success
        self.on_silence: Callable[[], None] = lambda: None  # a record got no acknowledgement in time
        self.clients = Clients(options, metrics)
        self.refusals = Refusals(metrics)
        self.acknowledged = Acknowledged(metrics)

    def give(self, record: ToSend, waiting: Unacknowledged, handed_over_s: float) -> None:
        """Hand a record to the client. Raises `BufferError` or `KafkaException`."""
        client = self.clients.main
        produce = client.produce
        if len(record) == 3:
            topic, key, value = record
        else:
            topic, key, value, headers = record
            produce = partial(produce, headers=list(headers))
        on_delivery = partial(self._on_delivery, client, waiting, topic, handed_over_s)
        produce(topic.name, value=value, key=key, partition=topic.locate(key), on_delivery=on_delivery)

    def give_up(self, waiting: Unacknowledged, records: Sequence[ToSend], error: Exception) -> None:
        """The client did not even take these."""
        for record in records:
            if isinstance(error, KafkaException):
                self._fail(waiting, record, error.args[0])
            else:
                waiting.fail(record, KafkaUnavailableError(str(error), topic=record[0].name))

    def poll(self) -> int:
        """Take the answers of the clients; returns their number."""
        answers = self.clients.poll()
        if self._newest is not None:
            self._teach_clock(*self._newest)
            self._newest = None
        if answers:
            self._count()
        return answers

    def _on_delivery(
        self,
        client: Producer,
        waiting: Unacknowledged,
        topic: Topic,
        handed_over_s: float,
        error: KafkaError | None,
        message: Message,
    ) -> None:
        """Called by `poll`, for each record."""
        if error is not None and is_of_one_of_its_batch(error):
            self._give_alone(_rebuild(topic, message), waiting)
            return
        self._counts[message.topic(), error is None] += 1
        if error is not None:
            self._fail(waiting, _rebuild(topic, message), error)
            return
        self._pace.note(handed_over_s)
        self._newest = (message, handed_over_s)
        placement = Placement(message.partition() or 0, message.offset() or 0)
        if client is self.clients.main:  # a replaced one may report older records after newer ones
            self.acknowledged.note((topic.name, placement.partition), placement.offset)
        if waiting.left == 1:
            waiting.placement = placement
        waiting.count_down()

    def _give_alone(self, record: ToSend, waiting: Unacknowledged) -> None:
        try:
            self.clients.give_alone(record, partial(self._on_delivery_alone, waiting, record[0]))
        except (BufferError, KafkaException) as error:
            self.give_up(waiting, [record], error)

    def _on_delivery_alone(
        self, waiting: Unacknowledged, topic: Topic, error: KafkaError | None, message: Message
    ) -> None:
        self._counts[message.topic(), error is None] += 1
        if error is not None:
            self._fail(waiting, _rebuild(topic, message), error)
            return
        waiting.placement = Placement(message.partition() or 0, message.offset() or 0)
        waiting.count_down()

    def _fail(self, waiting: Unacknowledged, record: ToSend, error: KafkaError) -> None:
        failure = name_failure(error, record[0].name)
        if is_fatal(error):
            self.clients.note_fatal(failure.args[0])
        if isinstance(failure, TopicRefusedError):
            self.refusals.note(failure)
        elif isinstance(failure, RecordRefusedError):
            self._metrics.records_refused_total.labels(failure.topic).inc()
        else:
            self.on_silence()
        waiting.fail(record, failure)

    def _count(self) -> None:
        for (topic, ok), count in self._counts.items():
            (self._metrics.produced_total if ok else self._metrics.produce_failed_total).labels(topic).inc(count)
            if ok:
                self.refusals.end(topic or "")
        self._counts.clear()

    def _teach_clock(self, message: Message, handed_over_s: float) -> None:
        kind, appended_at_ms = message.timestamp()
        if self._clock is not None and kind == TIMESTAMP_LOG_APPEND_TIME:
            acknowledged_at_us = monotonic_us()
            waited_us = round((self._loop.time() - handed_over_s) * 1_000_000)
            sent_at_us = acknowledged_at_us - waited_us - LOOP_RESOLUTION_US
            self._clock.learn(appended_at_ms, sent_at_us=sent_at_us, acknowledged_at_us=acknowledged_at_us)


def _rebuild(topic: Topic, message: Message) -> ToSend:
    """The record that a message was made of."""
    return trace((topic, message.key() or b"", message.value()), pick_headers(message.headers()))
