"""Writing records and awaiting the brokers' acknowledgement, from an asyncio loop.

Everything happens in steps on the loop: what was sent since the last step is handed to the client in one go, and
acknowledgements are collected. The first record goes out at once, those behind it in batches, a pace apart. A batch
costs its sender 180 µs of CPU and Kafka 350, whether it has one record or ten, and everything behind it works in the
same batches. (A thread that waits for acknowledgements is woken for each, and takes the interpreter away from the loop
every time: a seventh of a busy gateway's CPU.) The pace follows the time acknowledgements take, and how short
processors are (`pipeline.pressure`): larger batches are what gives time back. Records of a topic that lingers are held
here until the oldest of them has waited long enough, longer where processors are short.

A broker refuses a whole batch for one of its records. What was refused so is written once more, by a client whose
batches have one record; only what is refused there is refused for good. A client with a fatal error is replaced: what
it had not written fails at once.
"""

import asyncio
import contextlib
import math
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import structlog
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, KafkaError, KafkaException, Message, Producer

from pipeline.config import KafkaConfig
from pipeline.core.events.records import Record, to_bytes
from pipeline.kafka.acknowledged import Acknowledged
from pipeline.kafka.failures import (
    KafkaUnavailableError,
    RecordRefusedError,
    TopicRefusedError,
    ToSend,
    is_fatal,
    is_of_one_of_its_batch,
    name_failure,
)
from pipeline.kafka.log_clock import LogClock, monotonic_us
from pipeline.kafka.options import producer_options
from pipeline.metrics import Metrics
from pipeline.pressure import Pressure
from pipeline.topics import Topic

# Between steps while anything is outstanding: half of what an acknowledgement takes, within these bounds. (A quarter,
# 10 ms at most: 838 and 958 delivered/s at saturation; 1,066 and 1,186 with these, in turns on one machine.)
PACE_MIN_S = 0.002
PACE_MAX_S = 0.040
PACE_SHARE = 0.5
# records that linger wait for so long where processors are short
HELD_MAX_S = 0.15
SMOOTHING = 0.1
# after so many steps without an acknowledgement Kafka is slow, or away: look more rarely
QUICK_STEPS = 50
SLOW_PACE_S = 0.02
# between looks for room in a full buffer: what makes room is an acknowledgement, which takes about as long
FULL_POLL_S = 0.005

WARM_UP_TIMEOUT_S = 10.0
# the loop's clock stands still during a turn
LOOP_RESOLUTION_US = 2000

__all__ = [
    "KafkaUnavailableError",
    "LogProducer",
    "Placement",
    "RecordRefusedError",
    "ToSend",
    "TopicRefusedError",
]

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Placement:
    """Where an acknowledged record is in the log."""

    partition: int
    offset: int


class Unacknowledged:
    """Records on their way; resolves when the last one is acknowledged. Fails with the first failure."""

    __slots__ = ("failed", "future", "left", "placement")

    def __init__(self, future: "asyncio.Future[Placement]", left: int) -> None:
        self.future = future
        self.left = left
        self.failed: list[tuple[ToSend, KafkaUnavailableError]] = []
        self.placement = Placement(-1, -1)


class LogProducer:
    """An idempotent producer, for the loop on which it is made; `close` flushes."""

    def __init__(
        self,
        config: KafkaConfig,
        metrics: Metrics,
        *,
        linger_ms: float = 0,
        timeout_s: float | None = None,
        pace_min_s: float = PACE_MIN_S,
        pace_max_s: float = PACE_MAX_S,
        clock: LogClock | None = None,
        pressure: Pressure | None = None,
    ) -> None:
        """`timeout_s`: of a record's acknowledgement; None: the setting. `pace_min_s`: between looks for them.

        `pace_max_s`: between batches, where processors are short, by `pressure`; None: nothing but acknowledgements
        decides.
        """
        self._options = producer_options(config, linger_ms=linger_ms, timeout_s=timeout_s or config.produce_timeout_s)
        self._producer = Producer(self._options, logger=None)
        self._alone: Producer | None = None  # writes each record in a batch of its own; made when it is needed
        self._retired: list[Producer] = []  # replaced, and not silent yet
        self._fatal: str | None = None  # why the client must be replaced
        self._refusals: dict[str, str] = {}  # by topic, until it takes a record again
        self._metrics = metrics
        self.acknowledged = Acknowledged(metrics)
        self._clock = clock  # told when records were appended
        self._newest: tuple[Message, float] | None = None  # acknowledged, and when it was handed over
        self._loop = asyncio.get_running_loop()
        self._outbox: list[tuple[Unacknowledged, Sequence[ToSend]]] = []
        self._outbox_records = 0
        self._held: deque[tuple[Unacknowledged, ToSend]] = deque()
        self._held_until_s = math.inf
        self._pace_min_s = pace_min_s
        self._pace_max_s = pace_max_s
        self._pressure = pressure
        self.pace_s = PACE_MIN_S  # what suits now, for whoever else works in batches
        self._next_step: asyncio.Handle | None = None
        self._is_holding = False  # is that step only for what is held?
        self._idle_steps = 0
        self._taken_s = 0.0  # by an acknowledgement: the longest of the last step, smoothed
        self._oldest_s = math.inf  # handed over, of what this step has acknowledged
        self._counts: Counter[tuple[str | None, bool]] = Counter()  # acknowledgements by topic and success

    def __len__(self) -> int:
        """Records not acknowledged yet."""
        others = sum(len(client) for client in (self._alone, *self._retired) if client is not None)
        return self._outbox_records + len(self._held) + len(self._producer) + others

    def check(self) -> str | None:
        """Health: None, or which topics take no records, and why."""
        refusals = [f"{topic} takes no records: {reason}" for topic, reason in sorted(self._refusals.items())]
        return "; ".join(refusals) or None

    def list_refusing(self) -> list[str]:
        """The topics that refused what was written last."""
        return sorted(self._refusals)

    async def warm_up(self) -> None:
        """Connect and learn where every partition is, or the first record waits for that. Without Kafka: later."""
        with contextlib.suppress(KafkaException):
            await asyncio.to_thread(self._producer.list_topics, timeout=WARM_UP_TIMEOUT_S)

    def send(self, topic: Topic, key: str, record: Record) -> "asyncio.Future[Placement]":
        """Write one record; the future resolves with its place, or fails with `KafkaUnavailableError`."""
        return self.send_bytes([(topic, key.encode(), to_bytes(record))])

    def send_bytes(self, records: Sequence[ToSend]) -> "asyncio.Future[Placement]":
        """Write records in order; resolves with the place of one of them when all are there.

        A full buffer is a failure. What was handed over before it still goes out.
        """
        waiting = self._expect(len(records))
        prompt = []
        for record in records:
            if record[0].linger_s:
                self._hold(record, waiting)
            else:
                prompt.append(record)
        if prompt:
            self._outbox.append((waiting, prompt))
            self._outbox_records += len(prompt)
            self._step_soon()
        return waiting.future

    async def send_patiently(self, records: Sequence[ToSend]) -> "asyncio.Future[Placement]":
        """The same, returning when all are handed over: waits for room as long as the buffer is full."""
        waiting = self._expect(len(records))
        now_s = self._loop.time()
        self._hand_over()  # what was sent before stays before
        try:
            for index, record in enumerate(records):
                if record[0].linger_s:
                    self._hold(record, waiting)
                    continue
                while True:
                    try:
                        self._give_client(record, waiting, now_s)
                        break
                    except BufferError:
                        self._step()  # what is acknowledged makes room
                        await asyncio.sleep(FULL_POLL_S)
                    except KafkaException as error:
                        self._give_up(waiting, records[index : index + 1], error)
                        break
        finally:
            # at the end: there may have been no step since the last one was handed over; it is not acknowledged yet
            self._step_soon(self._step_pace_s())
        return waiting.future

    async def flush(self) -> None:
        """Wait until every record is acknowledged or has failed."""
        while len(self):
            self._held_until_s = 0.0
            self._step()
            await asyncio.sleep(PACE_MIN_S)

    async def close(self) -> None:
        """Flush."""
        await self.flush()
        if self._next_step is not None:
            self._next_step.cancel()

    def _step_soon(self, wait_s: float = 0.0) -> None:
        """After so long, or at once with what else is sent in this turn of the loop; unless a step is near anyway."""
        if self._next_step is not None:
            if self._idle_steps < QUICK_STEPS and not self._is_holding:
                return
            self._next_step.cancel()
        self._idle_steps = 0
        self._is_holding = False
        call = partial(self._loop.call_later, wait_s) if wait_s else self._loop.call_soon
        self._next_step = call(self._take_turn)

    def _hold(self, record: ToSend, waiting: Unacknowledged) -> None:
        """Keep a record of a topic that lingers until its time, or until an earlier one's."""
        now_s = self._loop.time()
        self._held.append((waiting, record))
        until_s = now_s + max(record[0].linger_s, self._gather_s(HELD_MAX_S))
        is_sooner = until_s < self._held_until_s
        if is_sooner:
            self._held_until_s = until_s
        if self._next_step is None or (self._is_holding and is_sooner):
            self._step_at(self._held_until_s, is_holding=True)

    def _step_at(self, at_s: float, *, is_holding: bool) -> None:
        """Take the next step at this time of the loop's clock, not at that set before."""
        if self._next_step is not None:
            self._next_step.cancel()
        self._is_holding = is_holding
        self._next_step = self._loop.call_at(at_s, self._take_turn)

    def _take_turn(self) -> None:
        self._next_step, self._is_holding = None, False
        self._step()

    def _step(self) -> None:
        self._hand_over()
        now_s = self._loop.time()
        if self._held and now_s >= self._held_until_s:
            self._hand_over_held(now_s)
        acknowledged = self._poll(self._producer)
        if self._alone is not None:
            acknowledged += self._poll(self._alone)
        if self._fatal is not None:
            self._replace_client()
        elif self._retired:
            acknowledged += self._poll_retired()
        if self._newest is not None:
            self._tell_clock(*self._newest)
            self._newest = None
        if acknowledged:
            self._idle_steps = 0
            if self._oldest_s < math.inf:
                self._taken_s += SMOOTHING * (now_s - self._oldest_s - self._taken_s)
                self._oldest_s = math.inf
                by_acknowledgements_s = min(max(PACE_MIN_S, PACE_SHARE * self._taken_s), PACE_MAX_S)
                self.pace_s = max(by_acknowledgements_s, self._gather_s(self._pace_max_s))
            self._count()
        else:
            self._idle_steps += 1
        if (self._next_step is not None and not self._is_holding) or not len(self):
            return
        if len(self) == len(self._held):
            self._step_at(self._held_until_s, is_holding=True)
        else:
            pace_s = SLOW_PACE_S if self._idle_steps >= QUICK_STEPS else self._step_pace_s()
            self._step_at(now_s + pace_s, is_holding=False)

    def _tell_clock(self, message: Message, handed_over_s: float) -> None:
        kind, appended_at_ms = message.timestamp()
        if self._clock is not None and kind == TIMESTAMP_LOG_APPEND_TIME:
            acknowledged_at_us = monotonic_us()
            waited_us = round((self._loop.time() - handed_over_s) * 1_000_000)
            sent_at_us = acknowledged_at_us - waited_us - LOOP_RESOLUTION_US
            self._clock.learn(appended_at_ms, sent_at_us=sent_at_us, acknowledged_at_us=acknowledged_at_us)

    def _count(self) -> None:
        for (topic, ok), count in self._counts.items():
            (self._metrics.produced_total if ok else self._metrics.produce_failed_total).labels(topic).inc(count)
            if ok and self._refusals and self._refusals.pop(topic or "", None) is not None:
                log.info("topic_takes_records", topic=topic)
                self._metrics.topic_refused.labels(topic).set(0)
        self._counts.clear()

    def _step_pace_s(self) -> float:
        return max(self._pace_min_s, self.pace_s)

    def _gather_s(self, most_s: float) -> float:
        return self._pressure.gather_s(most_s) if self._pressure is not None else 0.0

    def _hand_over(self) -> None:
        outbox, self._outbox = self._outbox, []
        self._outbox_records = 0
        now_s = self._loop.time()
        for waiting, records in outbox:
            for index, record in enumerate(records):
                try:
                    self._give_client(record, waiting, now_s)
                except BufferError as error:
                    # what was handed over already still reports; the rest never will
                    self._give_up(waiting, records[index:], error)
                    break
                except KafkaException as error:
                    self._give_up(waiting, [record], error)

    def _hand_over_held(self, now_s: float) -> None:
        while self._held:
            waiting, record = self._held[0]
            try:
                self._give_client(record, waiting, now_s)
            except BufferError:
                return  # with the next step: what is acknowledged until then makes room
            except KafkaException as error:
                self._give_up(waiting, [record], error)
            self._held.popleft()
        self._held_until_s = math.inf

    def _expect(self, records: int) -> Unacknowledged:
        waiting = Unacknowledged(self._loop.create_future(), records)
        if records == 0:
            waiting.future.set_result(waiting.placement)
        return waiting

    def _give_client(self, record: ToSend, waiting: Unacknowledged, handed_over_s: float) -> None:
        topic, key, value = record
        on_delivery = partial(self._on_delivery, self._producer, waiting, topic, handed_over_s)
        self._producer.produce(topic.name, value=value, key=key, partition=topic.locate(key), on_delivery=on_delivery)

    def _give_alone(self, record: ToSend, waiting: Unacknowledged) -> None:
        topic, key, value = record
        if self._alone is None:
            self._alone = Producer(self._options | {"batch.num.messages": 1}, logger=None)
        on_delivery = partial(self._on_delivery_alone, waiting, topic)
        try:
            self._alone.produce(topic.name, value=value, key=key, partition=topic.locate(key), on_delivery=on_delivery)
        except (BufferError, KafkaException) as error:
            self._give_up(waiting, [record], error)

    def _on_delivery(
        self,
        client: Producer,
        waiting: Unacknowledged,
        topic: Topic,
        handed_over_s: float,
        error: KafkaError | None,
        message: Message,
    ) -> None:
        """Called by `poll`, for each record. `handed_over_s`: by the loop's clock."""
        if error is not None and is_of_one_of_its_batch(error):
            self._give_alone((topic, message.key() or b"", message.value()), waiting)
            return
        self._counts[message.topic(), error is None] += 1
        if error is not None:
            self._fail(waiting, (topic, message.key() or b"", message.value()), error)
            return
        self._oldest_s = min(self._oldest_s, handed_over_s)
        self._newest = (message, handed_over_s)
        placement = Placement(message.partition() or 0, message.offset() or 0)
        if client is self._producer:  # one that was replaced may tell of older ones after newer ones
            self.acknowledged.note((topic.name, placement.partition), placement.offset)
        if waiting.left == 1:
            waiting.placement = placement
        self._count_down(waiting, 1)

    def _on_delivery_alone(
        self, waiting: Unacknowledged, topic: Topic, error: KafkaError | None, message: Message
    ) -> None:
        self._counts[message.topic(), error is None] += 1
        if error is not None:
            self._fail(waiting, (topic, message.key() or b"", message.value()), error)
            return
        waiting.placement = Placement(message.partition() or 0, message.offset() or 0)
        self._count_down(waiting, 1)

    def _fail(self, waiting: Unacknowledged, record: ToSend, error: KafkaError) -> None:
        failure = name_failure(error, record[0].name)
        if is_fatal(error):
            self._fatal = failure.args[0]
        if isinstance(failure, TopicRefusedError):
            if failure.topic not in self._refusals:
                log.error("topic_refuses", topic=failure.topic, reason=str(failure))
            self._refusals[failure.topic] = str(failure)
            self._metrics.topic_refused.labels(failure.topic).set(1)
        elif isinstance(failure, RecordRefusedError):
            self._metrics.records_refused_total.labels(failure.topic).inc()
        waiting.failed.append((record, failure))
        self._count_down(waiting, 1)

    def _give_up(self, waiting: Unacknowledged, records: Sequence[ToSend], error: Exception) -> None:
        """The client did not even take these."""
        for record in records:
            if isinstance(error, KafkaException):
                self._fail(waiting, record, error.args[0])
            else:
                waiting.failed.append((record, KafkaUnavailableError(str(error), topic=record[0].name)))
                self._count_down(waiting, 1)

    def _count_down(self, waiting: Unacknowledged, records: int) -> None:
        waiting.left -= records
        if waiting.left > 0 or waiting.future.done():
            return
        if waiting.failed:
            _, error = waiting.failed[0]
            error.failed = waiting.failed
            waiting.future.set_exception(error)
        else:
            waiting.future.set_result(waiting.placement)

    def _poll(self, client: Producer) -> int:
        try:
            return client.poll(0)
        except KafkaException as error:
            # a fatal error is raised here, besides being told of every record
            if not is_fatal(error.args[0]):
                raise
            self._fatal = str(error.args[0])
            return 1

    def _replace_client(self) -> None:
        """A client with a fatal error writes nothing any more, and says so of every record."""
        reason, self._fatal = self._fatal, None
        log.error("producer_replaced", reason=reason)
        self._metrics.producers_replaced_total.inc()
        self._retired.append(self._producer)
        if self._alone is not None:
            self._retired.append(self._alone)
        self._producer, self._alone = Producer(self._options, logger=None), None
        for client in self._retired:
            client.purge()
        self._poll_retired()

    def _poll_retired(self) -> int:
        """Hear what became of what clients had that were replaced."""
        told = sum(self._poll(client) for client in self._retired)
        self._fatal = None  # which they say once more of every record
        self._retired = [client for client in self._retired if len(client)]
        return told
