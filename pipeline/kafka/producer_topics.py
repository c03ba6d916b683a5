"""The topics of producers, by a pattern, as one member of a group: read in batches, committed as far as all is settled.

A thread owns the consumer; a batch is handled on the loop. What is not settled is read again after a while, and holds
up its own partition only.
"""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import CancelledError
from typing import Any

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from pipeline.config import KafkaConfig
from pipeline.core.events.producer_record import Headers, ProducerRecord, find_topic_pattern
from pipeline.kafka.commit_metadata import join_note, split_note
from pipeline.kafka.group.standing import Standing
from pipeline.kafka.options import producer_topics_options
from pipeline.kafka.partitions import find_committed, make_part
from pipeline.kafka.read_faults import ReadFault, ReadFaults
from pipeline.kafka.record import Place
from pipeline.kafka.stepping import Stepper
from pipeline.kafka.topic_ids import INTERVAL_S, TopicIds, describe_other

POLL_S = 0.1
BATCH_MAX_RECORDS = 500
AGAIN_AFTER_S = 1.0
QUERY_TIMEOUT_S = 10.0
STALL_S = 10.0

# Records in the order of each partition → the next offset of each, up to which all is settled.
Take = Callable[[Sequence[ProducerRecord]], Awaitable[Mapping[Place, int]]]
log = structlog.get_logger()


class ProducerTopics:
    """`take` raises what no later try can mend."""

    def __init__(self, config: KafkaConfig, take: Take, *, faults: ReadFaults) -> None:
        self._pattern = find_topic_pattern(config.topic_prefix)
        self._take = take
        self._faults = faults
        group = f"{config.topic_prefix}gateway.producers"
        self._standing = Standing(group, session_timeout_s=config.session_timeout_s)
        self._consumer = Consumer(dict(producer_topics_options(config, self._standing)), logger=None)
        self._ids = TopicIds(config, [])
        self._stepper = Stepper(config, self._consumer, self._ids)
        self._waiting: dict[Place, float] = {}  # until when
        self._closing = threading.Event()
        self._loop = asyncio.get_running_loop()

    async def run(self) -> None:
        """Runs until cancelled; raises what `take` raised."""
        reading = asyncio.create_task(asyncio.to_thread(self._read))
        try:
            await asyncio.shield(reading)
        finally:
            self._closing.set()
            await asyncio.wait([reading])

    def check_group(self) -> str | None:
        """See `Standing.check`."""
        return self._standing.check()

    # Below: the thread.

    def _read(self) -> None:
        try:
            self._consumer.subscribe([self._pattern], on_assign=self._begin, on_revoke=self._end, on_lost=self._end)
            looked_at_s = asked_at_s = time.monotonic()
            while not self._closing.is_set():
                if time.monotonic() - asked_at_s > INTERVAL_S:
                    asked_at_s = time.monotonic()
                    self._find_made_again()
                self._resume()
                records = self._poll()
                if records:
                    self._settle(records, self._handle(records))
                if time.monotonic() - looked_at_s > STALL_S:
                    looked_at_s = time.monotonic()
                    for fault in self._stepper.find_stalled():
                        self._faults.note(fault)
        except CancelledError:
            pass  # the loop is closing: nothing was settled
        finally:
            self._stepper.close()
            self._consumer.close()

    def _find_made_again(self) -> None:
        self._stepper.origins.refresh()
        for fault in self._stepper.find_made_again():
            self._waiting.pop(fault.place, None)
            self._faults.note(fault)

    def _handle(self, records: Sequence[ProducerRecord]) -> Mapping[Place, int]:
        async def take() -> Mapping[Place, int]:
            return await self._take(records)

        return asyncio.run_coroutine_threadsafe(take(), self._loop).result()

    def _poll(self) -> list[ProducerRecord]:
        first = self._consumer.poll(POLL_S)
        if first is None:
            return []
        self._stepper.start_batch()
        messages = [first, *self._consumer.consume(BATCH_MAX_RECORDS - 1, 0)]
        return [record for message in messages if (record := self._read_message(message)) is not None]

    def _read_message(self, message: Message) -> ProducerRecord | None:
        error = message.error()
        if error is not None and error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            return None  # no topic fits the pattern, or one has gone
        if not self._stepper.take(message):
            fault = self._stepper.recover(message)
            if fault is not None:
                self._faults.note(fault)
            return None
        return ProducerRecord(
            topic=message.topic() or "",
            partition=message.partition() or 0,
            offset=message.offset() or 0,
            key=message.key(),
            value=message.value(),
            headers=_list_headers(message),
            timestamp_us=message.timestamp()[1] * 1000,
        )

    def _settle(self, records: Sequence[ProducerRecord], settled: Mapping[Place, int]) -> None:
        """Commit what is settled, and read the rest again after a while."""
        ends: dict[Place, int] = {}
        firsts: dict[Place, int] = {}
        for record in records:
            place = (record.topic, record.partition)
            ends[place] = record.offset + 1
            firsts.setdefault(place, record.offset)
        done = [
            make_part(place, offset, metadata=join_note(self._stepper.origins.find(place), ""))
            for place, offset in settled.items()
            if offset > firsts.get(place, offset)
        ]
        if done:
            try:
                self._consumer.commit(offsets=done, asynchronous=False)
            except KafkaException as error:
                # the next owner of the partition reads it again, under the same ids
                log.warning("producer_topics_not_committed", reason=error.args[0].str())
        assigned = {(part.topic, part.partition) for part in self._consumer.assignment()}
        for place, end in ends.items():
            offset = settled.get(place, firsts[place])
            if offset < end and place in assigned:
                self._wait(place, offset)

    def _wait(self, place: Place, offset: int) -> None:
        part = TopicPartition(*place, offset)
        # not `seek`: what was fetched of it and waits in the client must go, too
        self._consumer.incremental_unassign([part])
        self._consumer.incremental_assign([part])
        self._consumer.pause([part])
        self._stepper.go_to(place, offset)
        self._waiting[place] = time.monotonic() + AGAIN_AFTER_S

    def _resume(self) -> None:
        due = [place for place, until_s in self._waiting.items() if until_s <= time.monotonic()]
        for place in due:
            del self._waiting[place]
            try:
                self._consumer.resume([TopicPartition(*place)])
            except KafkaException:
                log.info("producer_topic_gone", topic=place[0], partition=place[1])

    def _begin(self, consumer: Consumer, parts: list[TopicPartition]) -> None:
        """Where the group goes on; in a topic that it never read, at the beginning: records came before it was seen."""
        self._standing.note(is_member=True)  # the client says so when this has returned, which may wait for Kafka
        self._ids.follow(topic for topic, _ in (*self._stepper.positions(), *((part.topic, 0) for part in parts)))
        self._stepper.origins.refresh()
        starts = self._find_starts(consumer, parts)
        while parts and not starts and not self._closing.wait(AGAIN_AFTER_S):
            starts = self._find_starts(consumer, parts)
        consumer.incremental_assign(starts)
        self._stepper.add(starts)
        log.info("producer_topics_assigned", topics=sorted({part.topic for part in parts}), partitions=len(parts))

    def _find_starts(self, consumer: Consumer, parts: Sequence[TopicPartition]) -> list[TopicPartition]:
        """Find where to read on, for partitions whose topic is not gone already. Empty while Kafka is away."""
        starts, lost = [], []
        try:
            for place, part in find_committed(consumer, [(part.topic, part.partition) for part in parts]).items():
                low, _ = consumer.get_watermark_offsets(part, timeout=QUERY_TIMEOUT_S)
                topic_id, _ = split_note(part.metadata)
                if part.offset >= 0 and not self._stepper.origins.is_noted(place, topic_id):
                    starts.append(TopicPartition(*place, low))
                    reason = describe_other(topic_id)
                    lost.append(ReadFault(place, "made_again", part.offset, low, reason, lost=part.offset))
                    continue
                starts.append(TopicPartition(*place, max(part.offset, low)))
                if 0 <= part.offset < low:
                    lost.append(ReadFault(place, "head_lost", part.offset, low, f"the log begins at {low}"))
        except KafkaException as error:
            log.warning("producer_topics_wait", reason=error.args[0].str())
        else:
            for fault in lost:
                self._faults.note(fault)
        return starts

    def _end(self, consumer: Consumer, parts: list[TopicPartition]) -> None:
        gone = {(part.topic, part.partition) for part in parts}
        for place in gone:
            self._waiting.pop(place, None)
        self._stepper.forget(gone)
        consumer.incremental_unassign(parts)


def _list_headers(message: Message) -> Headers:
    # a list of pairs, whatever its annotation says
    found: Any = message.headers() or ()
    return tuple(found)
