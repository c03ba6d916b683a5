"""A whole compacted topic, read from its start and followed for ever: how configuration reaches every process."""

import asyncio
import threading
import time
from collections.abc import Callable, Mapping

import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Message, TopicPartition

from pipeline.config import KafkaConfig
from pipeline.kafka.client_errors import describe_failure
from pipeline.kafka.options import view_options
from pipeline.kafka.partition_bounds import find_partition_bounds
from pipeline.kafka.read_faults import ReadFault, ReadFaults
from pipeline.kafka.record import Place
from pipeline.kafka.stepping import Stepper
from pipeline.kafka.topic_ids import TopicIds
from pipeline.start_error import StartError
from pipeline.topics import Topic

POLL_S = 0.1
BATCH_MAX_RECORDS = 1000
SILENCE_MAX_S = 60.0
STALL_S = 2.0

Change = tuple[str, bytes | None, int]
Apply = Callable[[str, bytes | None, int], None]
log = structlog.get_logger()


class LogView:
    """Follows one topic, all partitions. `apply(key, value, timestamp_us)` is called on the loop for every record."""

    def __init__(
        self,
        config: KafkaConfig,
        topic: Topic,
        apply: Apply,
        faults: ReadFaults | None = None,
        ids: TopicIds | None = None,
    ) -> None:
        """`faults`: records unreadable batches; the newest record of some keys may then be missing.

        `ids`: of this topic; None: one that is made again is not noticed.
        """
        self._consumer = Consumer(view_options(config), logger=None)
        self._stepper = Stepper(config, self._consumer, ids)
        self._faults = faults
        self._is_incomplete = False  # a batch was stepped over, and its keys were not published again yet
        self._topic = topic
        self._apply = apply
        self._loop = asyncio.get_running_loop()
        self._applied: dict[Place, int] = {}  # on the loop: how far each partition is applied
        self._caught_up: asyncio.Future[None] = self._loop.create_future()
        self._closing = threading.Event()
        self._polled_at_s = time.monotonic()
        self._thread = threading.Thread(target=self._follow, name=f"view-{topic.name}", daemon=True)

    async def start(self) -> None:
        """Return once everything that was in the topic at the start has been applied. Raises `StartError`."""
        self._thread.start()
        await self._caught_up

    def check(self) -> str | None:
        """Health: None, or what is wrong."""
        if not self._thread.is_alive():
            return f"the view of {self._topic.name} has ended"
        if time.monotonic() - self._polled_at_s > SILENCE_MAX_S:
            return f"the view of {self._topic.name} is stuck"
        return None

    def has_applied(self, partition: int, end: int) -> bool:
        """Is everything of the partition before this offset applied?"""
        return self._applied.get((self._topic.name, partition), 0) >= end

    def take_incomplete(self) -> bool:
        """Was a batch stepped over since this was last asked? What it held must be published again."""
        was_incomplete, self._is_incomplete = self._is_incomplete, False
        return was_incomplete

    async def close(self) -> None:
        """Stop following."""
        self._closing.set()
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join)

    def _follow(self) -> None:
        # The consumer is touched by this thread only.
        try:
            self._catch_up()
            looked_at_s = time.monotonic()
            while not self._closing.is_set():
                for fault in self._stepper.find_made_again():
                    self._note(fault)
                self._hand_over(self._take())
                if time.monotonic() - looked_at_s > STALL_S:
                    looked_at_s = time.monotonic()
                    for fault in self._stepper.find_stalled():
                        self._note(fault)
        except (KafkaException, TimeoutError) as error:
            self._report(StartError(describe_failure(f"read topic {self._topic.name}", error)))
        finally:
            self._stepper.close()
            self._consumer.close()

    def _catch_up(self) -> None:
        numbers = range(self._topic.partitions)
        # Before there is a fetch: the broker answers a connection in order, and a fetch of an empty partition waits
        # for `fetch.wait.max.ms`.
        marks = {number: find_partition_bounds(self._consumer, self._topic.name, number) for number in numbers}
        ends = {number: end for number, (low, end) in marks.items() if low < end}
        starts = self._read_damaged({number: marks[number] for number in ends})
        partitions = [
            TopicPartition(self._topic.name, number, starts.get(number, OFFSET_BEGINNING)) for number in numbers
        ]
        self._consumer.assign(partitions)
        self._stepper.begin(partitions)
        for number in ends:
            self._stepper.note_good((self._topic.name, number), *marks[number])
        asked_at_s = time.monotonic()
        # position() knows of records that compaction or aborted writes removed; counting records would wait for ever
        while ends and not self._closing.is_set():
            changes = self._take()
            self._hand_over(changes)
            places = self._consumer.position([TopicPartition(self._topic.name, number) for number in ends])
            missing = [place for place in places if self._find_reached(place) < ends[place.partition]]
            if not missing:
                break
            # To ask for bounds is to wait for the open fetch, up to `fetch.wait.max.ms`: not at each thousand records.
            if changes and time.monotonic() - asked_at_s < STALL_S:
                continue
            asked_at_s = time.monotonic()
            if all(self._is_empty(place.partition, ends[place.partition]) for place in missing):
                break
        self._report(None)

    def _read_damaged(self, marks: Mapping[int, tuple[int, int]]) -> dict[int, int]:
        """Apply what can be read of partitions with bad batches. Where to go on in those."""
        starts = {}
        parts = {(self._topic.name, number): bounds for number, bounds in marks.items()}
        for (_, number), damaged in self._stepper.scan(parts).items():
            for fault in damaged.faults:
                self._note(fault)
            starts[number] = marks[number][1]
            changes = [
                (record.key.decode(errors="replace"), record.value, record.timestamp_us)
                for record in damaged.records
                if record.key is not None
            ]
            self._loop.call_soon_threadsafe(self._apply_all, changes, {})
        return starts

    def _find_reached(self, position: TopicPartition) -> int:
        # behind a batch that was stepped over the client has no position until there is something to read
        return max(position.offset, self._stepper.reached((position.topic, position.partition)))

    def _is_empty(self, partition: int, end: int) -> bool:
        low, _ = find_partition_bounds(self._consumer, self._topic.name, partition)
        return bool(low >= end)

    def _take(self) -> list[Change]:
        self._polled_at_s = time.monotonic()
        first = self._consumer.poll(POLL_S)
        if first is None:
            return []
        messages = [first, *self._consumer.consume(BATCH_MAX_RECORDS, 0)]
        self._stepper.start_batch()
        return [change for message in messages if (change := self._read(message)) is not None]

    def _read(self, message: Message) -> Change | None:
        if not self._stepper.take(message):
            fault = self._stepper.recover(message)
            if fault is not None:
                self._note(fault)
            return None
        key = message.key()
        if key is None:
            return None
        return (key.decode(errors="replace"), message.value(), message.timestamp()[1] * 1000)

    def _note(self, fault: ReadFault) -> None:
        self._is_incomplete = True
        if self._faults is not None:
            self._faults.note(fault)
        else:
            log.error("view_incomplete", topic=self._topic.name, reason=fault.reason)

    def _hand_over(self, changes: list[Change]) -> None:
        if changes and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._apply_all, changes, self._stepper.positions())

    def _apply_all(self, changes: list[Change], positions: dict[Place, int]) -> None:
        for key, value, timestamp_us in changes:
            try:
                self._apply(key, value, timestamp_us)
            except MemoryError:
                raise  # it says nothing about the record
            except Exception as error:
                # One record must not stop what all others say; every start would meet it again.
                log.error("record_failed_internally", topic=self._topic.name, key=key, exc_info=error)
        self._applied = positions

    def _report(self, error: StartError | None) -> None:
        def resolve() -> None:
            if self._caught_up.done():
                if error is not None:
                    log.error("view_ended", topic=self._topic.name, reason=str(error))
            elif error is not None:
                self._caught_up.set_exception(error)
            else:
                self._caught_up.set_result(None)

        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(resolve)
