"""Writing records and awaiting the brokers' acknowledgement, from an asyncio loop.

`produce` is called on the loop; a thread of the producer's own serves delivery reports and hands them to the loop in
batches (one wake-up for many acknowledgements).
"""

import asyncio
import threading
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from pipeline.config import KafkaConfig
from pipeline.core.records import Record, to_bytes
from pipeline.kafka.options import producer_options
from pipeline.metrics import Metrics
from pipeline.topics import Topic

POLL_S = 0.1
# between looks for room in a full buffer: what makes room is an acknowledgement, which takes about as long
FULL_POLL_S = 0.005

ToSend = tuple[Topic, bytes, bytes | None]  # topic, key, value


class KafkaUnavailableError(Exception):
    """Kafka did not acknowledge a record in time, or its buffer is full. Whether it was written is unknown."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where an acknowledged record is in the log."""

    partition: int
    offset: int


class Unacknowledged:
    """Records on their way; resolves when the last one is acknowledged. Fails with the first failure."""

    __slots__ = ("error", "future", "left", "placement")

    def __init__(self, future: "asyncio.Future[Placement]", left: int) -> None:
        self.future = future
        self.left = left
        self.error: KafkaUnavailableError | None = None
        self.placement = Placement(-1, -1)


class LogProducer:
    """An idempotent producer. Start it on the loop that will use it; `close` flushes."""

    def __init__(
        self, config: KafkaConfig, metrics: Metrics, *, linger_ms: float, timeout_s: float | None = None
    ) -> None:
        """`timeout_s`: how long a record may wait for its acknowledgement; None: the setting."""
        options = producer_options(config, linger_ms=linger_ms, timeout_s=timeout_s or config.produce_timeout_s)
        self._producer = Producer(options, logger=None)
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        # a deque: appended to by one thread and emptied by another, without a lock
        self._reports: deque[tuple[Unacknowledged, KafkaError | None, Message]] = deque()
        self._is_woken = False
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._serve_reports, name="kafka-producer", daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        """Records not acknowledged yet."""
        return len(self._producer)

    def send(self, topic: Topic, key: str, record: Record) -> "asyncio.Future[Placement]":
        """Write one record; the future resolves with its place, or fails with `KafkaUnavailableError`."""
        return self.send_bytes([(topic, key.encode(), to_bytes(record))])

    def send_bytes(self, records: Sequence[ToSend]) -> "asyncio.Future[Placement]":
        """Write records in order; resolves with the place of one of them when all are there.

        A full buffer is a failure. What was handed over before it still goes out.
        """
        waiting = self._expect(len(records))
        for index, record in enumerate(records):
            try:
                self._produce(record, waiting)
            except (BufferError, KafkaException) as error:
                # what was handed over already still reports; the rest never will
                self._count_down(waiting, len(records) - index, KafkaUnavailableError(str(error)))
                break
        return waiting.future

    async def send_patiently(self, records: Sequence[ToSend]) -> "asyncio.Future[Placement]":
        """The same, returning when all are handed over: waits for room as long as the buffer is full."""
        waiting = self._expect(len(records))
        for index, record in enumerate(records):
            while True:
                try:
                    self._produce(record, waiting)
                    break
                except BufferError:
                    await asyncio.sleep(FULL_POLL_S)
                except KafkaException as error:
                    self._count_down(waiting, len(records) - index, KafkaUnavailableError(str(error)))
                    return waiting.future
        return waiting.future

    async def flush(self) -> None:
        """Wait until every record is acknowledged or has failed."""
        await asyncio.to_thread(self._producer.flush)

    async def close(self) -> None:
        """Flush, then stop the thread."""
        await self.flush()
        self._closing.set()
        await asyncio.to_thread(self._thread.join)

    def _serve_reports(self) -> None:
        while not self._closing.is_set():
            self._producer.poll(POLL_S)

    def _expect(self, records: int) -> Unacknowledged:
        waiting = Unacknowledged(self._loop.create_future(), records)
        if records == 0:
            waiting.future.set_result(waiting.placement)
        return waiting

    def _produce(self, record: ToSend, waiting: Unacknowledged) -> None:
        topic, key, value = record
        self._producer.produce(topic.name, value=value, key=key, on_delivery=partial(self._on_delivery, waiting))

    def _on_delivery(self, waiting: Unacknowledged, error: KafkaError | None, message: Message) -> None:
        # Runs in the report thread, or in the one that flushes; one call per record. It only takes a note: whatever
        # runs here takes the interpreter away from the loop, and the loop does it in one go for many records.
        self._reports.append((waiting, error, message))
        if not self._is_woken:
            self._is_woken = True
            self._loop.call_soon_threadsafe(self._settle)

    def _settle(self) -> None:
        self._is_woken = False  # first: a report that comes from here on wakes us again
        counts: Counter[tuple[str | None, bool]] = Counter()
        while self._reports:
            waiting, error, message = self._reports.popleft()
            counts[message.topic(), error is None] += 1
            if error is not None:
                self._count_down(waiting, 1, KafkaUnavailableError(error.str()))
            else:
                if waiting.left == 1:
                    waiting.placement = Placement(message.partition() or 0, message.offset() or 0)
                self._count_down(waiting, 1, None)
        for (topic, ok), count in counts.items():
            (self._metrics.produced_total if ok else self._metrics.produce_failed_total).labels(topic).inc(count)

    def _count_down(self, waiting: Unacknowledged, records: int, error: KafkaUnavailableError | None) -> None:
        waiting.error = waiting.error or error
        waiting.left -= records
        if waiting.left > 0 or waiting.future.done():
            return
        if waiting.error is not None:
            waiting.future.set_exception(waiting.error)
        else:
            waiting.future.set_result(waiting.placement)
