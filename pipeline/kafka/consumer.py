"""Reading topics in a consumer group, from an asyncio loop.

One thread owns the client: confluent-kafka serialises the calls on a handle without fairness, so a commit from another
thread can wait for ever behind `poll`. The loop's wishes (commits) go through a queue; what was read is handed to the
loop in batches. The thread also does what needs no decision: it pauses everything while too much is unsettled, and
keeps the records of delayed topics in Kafka until they are due.

What was put away is read by a client of its own, and only while the loop keeps up: in one client's queue, new records
would wait behind thousands that come back at the same time (behind 100,000 of one endpoint: half a second).
"""

import asyncio
import contextlib
import heapq
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import TypeVar

import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from pipeline.config import KafkaConfig
from pipeline.kafka.commit_metadata import join_note, split_note
from pipeline.kafka.handler import Handler
from pipeline.kafka.in_flight import InFlight, Limits
from pipeline.kafka.log_clock import wall_us
from pipeline.kafka.options import consumer_options
from pipeline.kafka.partitions import find_committed, make_part
from pipeline.kafka.read_faults import ReadFault
from pipeline.kafka.readable import OUT_OF_RANGE, UNREADABLE
from pipeline.kafka.record import Committed, LogRecord, Place
from pipeline.kafka.recovery import Question, Reached, Recovery, make_question
from pipeline.kafka.topic_ids import Origins, TopicIds, describe_other
from pipeline.metrics import CommitResult
from pipeline.topics import Topic

POLL_S = 0.1
# while everything is paused nothing wakes `poll`: look again soon
PAUSED_POLL_S = 0.005
# A delayed partition is looked at no more often than this: every look is a seek and a fetch.
DELAY_STEP_S = 0.05
# batches handed to the loop that it has not looked at; what was put away waits while there are so many
HANDED_MAX = 2
# Thousands that come back find their lane full and are written again, 40 µs each. The loop gets so many of them at a
# time: in between it does everything else, and this thread gets the interpreter for what is new.
PUT_AWAY_AT_ONCE = 20
# while they are so many: long enough not to spin, short enough to go on soon
KEEP_UP_S = 0.002
QUERY_TIMEOUT_S = 10.0
LINGER_BYTES = 256 * 1024
ENDS_INTERVAL_S = 2.0
SILENCE_MAX_S = 90.0
# The group has gone on without us: what was to be committed is its next owner's affair.
SUPERSEDED = frozenset(
    {
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.FENCED_INSTANCE_ID,
    }
)

T = TypeVar("T")
log = structlog.get_logger()


class LogConsumer:
    """A member of the group `group`, subscribed to `topics`.

    `companions` are assigned by hand, the same partitions as those of the first topic: they share its partitioner, so
    that everything about one key meets in one process.
    """

    def __init__(
        self,
        config: KafkaConfig,
        *,
        group: str,
        topics: Sequence[Topic],
        companions: Sequence[Topic] = (),
        limits: Limits,
        member: str | None = None,
        linger_s: float = 0,
        clock_us: Callable[[], int] = wall_us,
        ids: TopicIds | None = None,
    ) -> None:
        """`linger_s`: leave records with the broker for so long, for larger batches. `clock_us`: the brokers'.

        `ids`: of all these topics; None: a topic that is made again is not noticed.
        """
        self._clock_us = clock_us
        options = consumer_options(config, group=group, member=member, linger_s=linger_s, linger_bytes=LINGER_BYTES)
        self._consumer = Consumer(options, on_commit=self._on_commit, logger=None)
        # assigned by hand, in no group: the client above commits for both
        self._put_away = Consumer(options, logger=None) if companions else None
        self._clients = [self._consumer] if self._put_away is None else [self._consumer, self._put_away]
        self._client_of_companion = {topic.name: self._clients[-1] for topic in companions}
        self._topics = topics
        self._companions = companions
        self._delays_us = {topic.name: topic.delay_s * 1_000_000 for topic in companions if topic.delay_s}
        self._loop = asyncio.get_running_loop()
        self._closing = threading.Event()
        self._failed: asyncio.Future[None] = self._loop.create_future()
        # with how many faults the handler had met when it wished so: an offset from before one counts in another log
        self._commits: deque[tuple[Mapping[Place, Committed], int]] = deque()
        self._faults_told = self._faults_met = 0
        self._gaps: deque[tuple[Place, int, int]] = deque()
        self._in_flight = InFlight(limits)
        # counted up by one thread each, so that no lock is needed
        self._handed_batches = self._received_batches = 0
        # on the loop: what was put away, is back, and has not been handled; the last of a batch ends it
        self._back: deque[tuple[Sequence[LogRecord], bool]] = deque()
        self._is_pumping = False
        self._is_more_put_away = False
        self._assigned: set[Place] = set()
        self._delayed: dict[Place, float] = {}  # until when (monotonic)
        self._wakes: list[tuple[float, Place]] = []
        self._reached: dict[Place, Reached] = {}
        self._recovering: set[Place] = set()
        self._ended: list[tuple[Place, int]] = []  # partitions read to their end, where no record was the last
        self._recovery = Recovery(config, ids)
        self._origins = Origins(ids)
        self._polled_at_s = time.monotonic()
        self._thread = threading.Thread(target=self._run, name=f"consumer-{group}", daemon=True)

    def start(self, handler: Handler) -> None:
        """Join the group."""
        self._handler = handler
        self._thread.start()

    async def failure(self) -> None:
        """Returns when the consumer has been closed; raises what ended it otherwise."""
        await self._failed

    def release(self, records: int, size_bytes: int) -> None:
        """Records are settled (or dropped): there is room for more."""
        self._in_flight.release(records, size_bytes)

    def full_for_s(self) -> float:
        """For how long reading has stopped because too much is in flight; 0: it has not."""
        since_s = self._in_flight.full_since_s
        return 0.0 if since_s is None else time.monotonic() - since_s

    def commit(self, offsets: Mapping[Place, Committed]) -> None:
        """Commit soon. A later commit supersedes; one that fails leaves more to be repeated, nothing to be lost."""
        self._commits.append((offsets, self._faults_met))

    def explain(self, place: Place, begin: int, end: int) -> None:
        """Nothing was read between these offsets. `LogChanges.missing` is called if retention has to do with it.

        The end of a transaction takes an offset, too, and so do records whose producer gave them up.
        """
        self._gaps.append((place, begin, end))

    def check(self) -> str | None:
        """Health: None, or what is wrong."""
        if not self._thread.is_alive():
            return "the consumer has ended"
        if time.monotonic() - self._polled_at_s > SILENCE_MAX_S:
            return "the consumer is stuck"
        return None

    async def close(self) -> None:
        """Hand the partitions back (`Assignment.revoked` is called) and leave the group."""
        self._closing.set()
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join)

    # From here on: the consumer's thread.

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            self._learn_leaders()
            self._consumer.subscribe(
                [topic.name for topic in self._topics],
                on_assign=self._on_assign,
                on_revoke=self._on_revoke,
                on_lost=self._on_lost,
            )
            measured_at_s = 0.0
            while not self._closing.is_set():
                self._step()
                if self._polled_at_s - measured_at_s > ENDS_INTERVAL_S:
                    measured_at_s = self._polled_at_s
                    self._measure()
        except BaseException as caught:  # handed to the loop, which ends the process
            error = caught
        finally:
            self._recovery.close()
            for client in self._clients:
                try:
                    client.close()
                except BaseException as caught:  # what ended the work before says more
                    error = error or caught
            self._report(error)

    def _client_of(self, topic: str) -> Consumer:
        return self._client_of_companion.get(topic, self._consumer)

    def _for_each_client(
        self, what: Callable[[Consumer, list[TopicPartition]], object], parts: Sequence[TopicPartition]
    ) -> None:
        """Call `what` with each client and those of `parts` that are its own, unless there are none."""
        for client in self._clients:
            own = [part for part in parts if self._client_of(part.topic) is client]
            if own:
                what(client, own)

    def _learn_leaders(self) -> None:
        # topics that are assigned and not subscribed to: the client would ask where they are a second after it got them
        for topic in self._companions:
            with contextlib.suppress(KafkaException):
                self._client_of(topic.name).list_topics(topic.name, QUERY_TIMEOUT_S)

    def _step(self) -> None:
        while self._commits:
            offsets, faults_met = self._commits.popleft()
            if faults_met == self._faults_told:
                self._commit(offsets, wait=False)
            else:
                self._loop.call_soon_threadsafe(self._handler.commit_ended, "failed")
        self._apply_back_pressure()
        self._wake_delayed()
        self._recover()
        self._hand_over(self._take(self._consumer, self._choose_wait_s()), self._receive)
        if self._put_away is not None and not self._is_loop_behind():
            self._hand_over(self._take(self._put_away, 0), self._receive_back)

    def _hand_over(self, messages: Sequence[Message], receive: Callable[[Sequence[LogRecord]], None]) -> None:
        records = self._read_due(messages)
        ended, self._ended = self._ended, []
        if not records:
            self._tell_ends(ended)
            return
        self._in_flight.take(records)
        self._handed_batches += 1
        self._loop.call_soon_threadsafe(receive, records)
        self._tell_ends(ended)  # behind the records that were read before

    def _tell_ends(self, ended: Sequence[tuple[Place, int]]) -> None:
        for place, offset in ended:
            self._loop.call_soon_threadsafe(self._handler.changes.reached, place, offset)

    def _receive(self, records: Sequence[LogRecord]) -> None:
        """On the loop."""
        self._received_batches += 1
        self._handler.received(records)

    def _receive_back(self, records: Sequence[LogRecord]) -> None:
        """On the loop. The pieces are handled one a turn, whichever batch they came in."""
        for begin in range(0, len(records), PUT_AWAY_AT_ONCE):
            end = begin + PUT_AWAY_AT_ONCE
            self._back.append((records[begin:end], end >= len(records)))
        if not self._is_pumping:
            self._is_pumping = True
            self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        if self._back:  # a rebalance may have had them handled
            self._receive_piece()
        self._is_pumping = bool(self._back)
        if self._is_pumping:
            self._loop.call_soon(self._pump)

    def _receive_piece(self) -> None:
        records, is_last = self._back.popleft()
        self._received_batches += is_last
        self._handler.received(records)

    def _is_loop_behind(self) -> bool:
        return self._handed_batches - self._received_batches >= HANDED_MAX

    def _take(self, client: Consumer, wait_s: float) -> list[Message]:
        first = client.poll(wait_s)
        self._polled_at_s = time.monotonic()
        # `consume` with a time-out would wait all of it unless the batch were full
        messages = [] if first is None else [first]
        if first is not None and (more := self._in_flight.batch_max_records - 1):
            messages += client.consume(more, 0)
        if client is self._put_away:
            self._is_more_put_away = bool(messages)
        return messages

    def _read_due(self, messages: Sequence[Message]) -> list[LogRecord]:
        now_s, now_us = self._polled_at_s, self._clock_us()
        records = []
        for message in messages:
            error = message.error()
            if error is not None:
                self._note_error(error, message)
                continue
            record = _read(message)
            place = (record.topic, record.partition)
            if place in self._recovering:
                continue  # what follows a bad batch is read again, from where it is known to be right
            delay_us = self._delays_us.get(record.topic)
            if delay_us is not None and self._delay(record, record.timestamp_us + delay_us - now_us, now_s):
                continue
            self._reached[place] = Reached(record.offset + 1, record.timestamp_us, message.leader_epoch())
            records.append(record)
        return records

    def _choose_wait_s(self) -> float:
        """How long to wait for new records."""
        if self._in_flight.is_full or self._commits:
            return PAUSED_POLL_S
        if self._is_more_put_away:
            return KEEP_UP_S if self._is_loop_behind() else 0.0
        if not self._wakes:
            return POLL_S
        return min(POLL_S, max(0.0, self._wakes[0][0] - time.monotonic()))

    def _delay(self, record: LogRecord, wait_us: int, now_s: float) -> bool:
        """Leave a record that is not due in Kafka, and all behind it. True when it is not to be handed over."""
        place = (record.topic, record.partition)
        if place in self._delayed:
            return True  # fetched before the seek took hold; it is read again
        if wait_us <= 0:
            return False
        client = self._client_of(record.topic)
        client.pause([TopicPartition(*place)])
        client.seek(TopicPartition(*place, record.offset))
        wake_at_s = now_s + max(wait_us / 1_000_000, DELAY_STEP_S)
        self._delayed[place] = wake_at_s
        heapq.heappush(self._wakes, (wake_at_s, place))
        return True

    def _wake_delayed(self) -> None:
        now_s = time.monotonic()
        while self._wakes and self._wakes[0][0] <= now_s:
            wake_at_s, place = heapq.heappop(self._wakes)
            if self._delayed.get(place) != wake_at_s:
                continue  # the partition went away meanwhile
            del self._delayed[place]
            if not self._in_flight.is_full:
                self._client_of(place[0]).resume([TopicPartition(*place)])

    def _apply_back_pressure(self) -> None:
        if not self._in_flight.has_turned(time.monotonic()):
            return
        if self._in_flight.is_full:
            self._for_each_client(Consumer.pause, [TopicPartition(*place) for place in self._assigned])
        else:
            due = self._assigned - self._delayed.keys() - self._recovering
            self._for_each_client(Consumer.resume, [TopicPartition(*place) for place in due])

    def _commit(self, offsets: Mapping[Place, Committed], *, wait: bool) -> None:
        parts = [
            make_part(
                place,
                committed.offset,
                metadata=join_note(self._origins.find(place), committed.metadata),
                epoch=self._reached[place].epoch,
            )
            for place, committed in offsets.items()
            if place in self._assigned
        ]
        if not parts:
            return
        try:
            if wait:
                self._consumer.commit(offsets=parts, asynchronous=False)
                self._on_commit(None, parts)
            else:
                self._consumer.commit(offsets=parts, asynchronous=True)
        except KafkaException as error:
            self._on_commit(error.args[0], parts)

    def _on_commit(self, error: KafkaError | None, partitions: list[TopicPartition]) -> None:
        result: CommitResult = "ok"
        if error is not None:
            result = "superseded" if error.code() in SUPERSEDED else "failed"
            log.warning("commit_failed", result=result, reason=error.str(), partitions=len(partitions))
        self._loop.call_soon_threadsafe(self._handler.commit_ended, result)

    def _measure(self) -> None:
        self._explain_gaps()
        for place in self._origins.list_changed():
            if place in self._assigned and place not in self._recovering:
                self._stop(place)
                question = Question(place, self._reached[place].offset, None, "made_again")
                self._recovery.ask(question._replace(topic_id=self._origins.find(place)))
        ends = {}
        for place in self._assigned:
            try:
                _, end = self._client_of(place[0]).get_watermark_offsets(TopicPartition(*place), cached=True)
            except KafkaException:
                continue  # nothing has been fetched of it yet
            if end >= 0:
                ends[place] = end
        self._loop.call_soon_threadsafe(self._handler.measured, ends)

    def _explain_gaps(self) -> None:
        starts: dict[Place, int] = {}
        missing: dict[Place, int] = {}
        while self._gaps:
            place, begin, end = self._gaps[0]
            if place not in starts:
                try:
                    starts[place], _ = self._consumer.get_watermark_offsets(
                        TopicPartition(*place), timeout=QUERY_TIMEOUT_S
                    )
                except KafkaException as error:
                    log.warning("consumer_waits", reason=error.args[0].str())
                    break  # asked again
            self._gaps.popleft()
            missing[place] = missing.get(place, 0) + max(0, min(starts[place], end) - begin)
        for place, records in missing.items():
            if records:
                self._loop.call_soon_threadsafe(self._handler.changes.missing, place, records)

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        places = [(part.topic, part.partition) for part in partitions]
        lead = self._topics[0].name
        places += [
            (companion.name, part.partition)
            for part in partitions
            if part.topic == lead
            for companion in self._companions
        ]
        if not places:
            return
        found = find_committed(consumer, places)
        self._origins.refresh()
        committed: dict[Place, Committed | None] = {}
        others = []
        for place, part in found.items():
            topic_id, note = split_note(part.metadata)
            is_same = self._origins.begin(place, topic_id)
            committed[place] = Committed(part.offset, note) if part.offset >= 0 and is_same else None
            if not is_same:
                position = max(part.offset, 0)
                others.append(ReadFault(place, "made_again", position, 0, describe_other(topic_id), lost=position))
        starts = self._ask(self._handler.assignment.assigned(committed))
        for fault in others:
            if fault.place not in starts:
                self._loop.call_soon_threadsafe(self._handler.changes.began_anew, fault)
        assignment = []
        for place in places:
            known = committed[place]
            start = starts.get(place, known.offset if known is not None else OFFSET_BEGINNING)
            epoch = found[place].leader_epoch if known is not None else None
            self._reached[place] = Reached(max(start, 0), 0, epoch)
            assignment.append(make_part(place, start))
        self._for_each_client(Consumer.incremental_assign, assignment)
        self._assigned.update(places)
        self._recovery.verify(
            {place: self._reached[place] for place in places if self._reached[place].epoch is not None}
        )
        # The client remembers over a partition's going that it was paused: without this, a delayed partition that comes
        # back would never be read again.
        self._for_each_client(Consumer.pause if self._in_flight.is_full else Consumer.resume, assignment)

    def _on_revoke(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        places = self._gather(partitions)
        if not places:
            return
        self._commit(self._ask(self._handler.assignment.revoked(places)), wait=True)
        self._forget(places)
        self._for_each_client(Consumer.incremental_unassign, [TopicPartition(*place) for place in places])

    def _on_lost(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        places = self._gather(partitions)
        if not places:
            return
        log.warning("partitions_lost", partitions=len(places))
        self._loop.call_soon_threadsafe(self._handler.assignment.lost, places)
        self._forget(places)
        self._for_each_client(Consumer.incremental_unassign, [TopicPartition(*place) for place in places])

    def _gather(self, partitions: Iterable[TopicPartition]) -> list[Place]:
        lead = self._topics[0].name
        places = {(part.topic, part.partition) for part in partitions}
        places |= {
            (companion.name, part.partition)
            for part in partitions
            if part.topic == lead
            for companion in self._companions
        }
        return sorted(places & self._assigned)

    def _forget(self, places: Iterable[Place]) -> None:
        self._assigned.difference_update(places)
        self._recovering.difference_update(places)
        for place in places:
            self._delayed.pop(place, None)
            self._reached.pop(place, None)
            self._origins.forget(place)

    def _note_error(self, error: KafkaError, message: Message) -> None:
        code = error.code()
        if code == KafkaError._PARTITION_EOF:  # noqa: SLF001 - the library's name
            self._note_end(message)
            return
        if error.fatal():
            raise KafkaException(error)
        place = (message.topic() or "", message.partition() or 0)
        if place not in self._assigned or not (code in UNREADABLE or code in OUT_OF_RANGE):
            log.warning("consumer_waits", reason=error.str())
            return
        if place in self._recovering:
            return
        log.warning("consumer_stopped", topic=place[0], partition=place[1], reason=error.str())
        self._stop(place)
        question = make_question(place, self._reached[place], error)
        self._recovery.ask(question._replace(topic_id=self._origins.find(place)))

    def _stop(self, place: Place) -> None:
        self._recovering.add(place)
        self._client_of(place[0]).pause([TopicPartition(*place)])

    def _note_end(self, message: Message) -> None:
        place, offset = (message.topic() or "", message.partition() or 0), message.offset() or 0
        reached = self._reached.get(place)
        # The tiers are left out: what is not due is put back and read again, and only we write them.
        if reached is None or place in self._recovering or place[0] in self._client_of_companion:
            return
        if offset > reached.offset:
            self._reached[place] = reached._replace(offset=offset)
            self._ended.append((place, offset))

    def _recover(self) -> None:
        while (fault := self._recovery.take_answer()) is not None:
            place = fault.place
            is_verified = fault.kind == "tail_lost" and place in self._assigned
            if place not in self._recovering and not is_verified:
                continue  # the partition went away meanwhile
            self._recovering.discard(place)
            if fault.kind == "made_again":
                self._origins.accept(place)
            if fault.begin != fault.end:
                self._faults_told += 1
                self._loop.call_soon_threadsafe(self._meet, fault)
            self._reached[place] = Reached(fault.end, self._reached[place].time_us)
            client, part = self._client_of(place[0]), TopicPartition(place[0], place[1], fault.end)
            # not `seek`: a partition whose position was out of range is not fetched, and cannot be sought in
            client.incremental_unassign([part])
            client.incremental_assign([part])
            is_held = self._in_flight.is_full or place in self._delayed
            (client.pause if is_held else client.resume)([part])

    def _ask(self, question: Coroutine[object, object, T]) -> T:
        return asyncio.run_coroutine_threadsafe(self._answer(question), self._loop).result()

    def _meet(self, fault: ReadFault) -> None:
        """On the loop. What was read before is handled before."""
        while self._back:
            self._receive_piece()
        self._faults_met += 1
        self._handler.changes.met(fault)

    async def _answer(self, question: Coroutine[object, object, T]) -> T:
        """On the loop. What was read before a rebalance is handled before it."""
        while self._back:
            self._receive_piece()
        return await question

    def _report(self, error: BaseException | None) -> None:
        def resolve() -> None:
            if self._failed.done():
                return
            if error is not None:
                self._failed.set_exception(error)
            else:
                self._failed.set_result(None)

        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(resolve)


def _read(message: Message) -> LogRecord:
    return LogRecord(
        message.topic() or "",
        message.partition() or 0,
        message.offset() or 0,
        message.key(),
        message.value(),
        message.timestamp()[1] * 1000,
    )
