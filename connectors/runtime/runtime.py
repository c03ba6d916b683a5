"""The one consume loop of every sink: lanes, bounds, settling, commits, rebalancing, shutdown.

A record is taken from Kafka, waits in its lane, is put by the sink, and is settled. Below the watermark everything is
settled; that is committed, with what is settled beyond it. Nothing here ever waits for one record on behalf of another.
"""

import asyncio
import itertools
import time
from collections.abc import Callable, Container, Mapping, Sequence

import structlog

from connectors.runtime.flow import Flow
from connectors.runtime.partition import Partition
from connectors.sink import Bookmark, LogRecord, Parking, Place, PositionKeeper, Sink
from pipeline.config import KafkaConfig, WorkerConfig
from pipeline.core.events.records import is_probe
from pipeline.core.lanes.budget import Budget
from pipeline.core.log.commit_note import CommitNote, fits, format_note, parse_note
from pipeline.core.log.watermark import Watermark
from pipeline.kafka.consumer import LogConsumer
from pipeline.kafka.in_flight import Limits
from pipeline.kafka.log_clock import wall_us
from pipeline.kafka.read_faults import ReadFault, ReadFaults
from pipeline.kafka.record import Committed
from pipeline.kafka.topic_ids import TopicIds
from pipeline.metrics import CommitResult, Metrics
from pipeline.supervisor import Together, run_together
from pipeline.topics import Topic

TICK_S = 0.25
ROTATE_TICKS = 40  # ten seconds
# hookline_stalled_seconds by cause
STALLS = {
    "back_pressure": "nothing was read because too much is in flight",
    "places": "work could be started and none was",
}

log = structlog.get_logger()


class Runtime:
    """Runs one sink. `lead`: the topics of the group; `companions`: see `LogConsumer`."""

    def __init__(
        self,
        sink: Sink,
        *,
        kafka: KafkaConfig,
        config: WorkerConfig,
        metrics: Metrics,
        group: str,
        lead: Sequence[Topic],
        companions: Sequence[Topic] = (),
        open_max: int,
        parking: Parking | None = None,
        bookmark: Bookmark | None = None,
        positions: PositionKeeper | None = None,
        batch_max: int = 1,
        linger_s: float = 0,
        faults: ReadFaults | None = None,
        skips_probes: bool = False,
        clock_us: Callable[[], int] = wall_us,
        ids: TopicIds | None = None,
    ) -> None:
        """`open_max`: calls of `put` at once; `batch_max`: records in one call; `linger_s`: see `LogConsumer`.

        `skips_probes`: the sink, which keeps no positions of its own, is not shown them; a lane of theirs would count.
        `clock_us`: on which records are due.
        """
        self._sink = sink
        self._bookmark = bookmark
        self._positions = positions
        self._clock_us = clock_us
        self._config = config
        self._metrics = metrics
        self._skips_probes = skips_probes
        self._lead_names = frozenset(topic.name for topic in lead)
        self._retentions_s = {topic.name: topic.retention_s for topic in (*lead, *companions) if topic.retention_s}
        self._flow = Flow(
            sink,
            parking=parking,
            budget=Budget(
                records_max=config.in_flight_max,
                bytes_max=config.in_flight_max_bytes,
                places_max=open_max,
                batch_max=config.batch_size,
            ),
            open_max=open_max,
            batch_max=batch_max,
            parked_rate_min_per_s=config.parked_rate_min_per_s,
            release=self._release,
            fail=self._fail,
            clock_us=clock_us,
        )
        self._partitions: dict[Place, Partition] = {}
        self._asking: set[asyncio.Future[Mapping[Place, int]]] = set()
        self._is_stopping = False
        self._failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._committed: dict[Place, Committed] = {}
        self._is_commit_owed = False
        self.is_assigned = asyncio.Event()
        self.faults = faults or ReadFaults(metrics)
        limits = Limits(
            batch_max_records=config.batch_size,
            in_flight_max_records=config.in_flight_max,
            in_flight_max_bytes=config.in_flight_max_bytes,
        )
        self._consumer = LogConsumer(
            kafka,
            self,
            group=group,
            topics=lead,
            companions=companions,
            limits=limits,
            linger_s=linger_s,
            clock_us=clock_us,
            ids=ids,
        )

    async def run(self, stopping: asyncio.Event, *, together: Together = run_together) -> None:
        """Consume until `stopping`, then settle what is open, commit, and leave the group. Raises what went wrong.

        `together`: runs the tasks of the loop.
        """
        self._consumer.start()
        try:
            await together(
                stopping,
                committing=self._commit_regularly(),
                ticking=self._tick_regularly(),
                working=self._wait_for_failure(),
                consuming=self._consumer.failure(),
            )
        finally:
            self._is_stopping = True
            self._flow.stop()
            # a sink that waits for its target to make it the owner of partitions would keep the consumer from closing
            for asking in self._asking:
                asking.cancel()
        await self._consumer.close()

    def check(self) -> str | None:
        """Health: None, or what is wrong."""
        waited_s = time.monotonic() - self._flow.settled_at_s
        if self._flow.is_busy and waited_s > self._config.stuck_after_s:
            return f"nothing was settled for {waited_s:.0f} s"
        return self._consumer.check()

    def check_movement(self) -> str | None:
        """Health: None, or which work stands still that could be done."""
        for cause, stalled_s in self._measure_stalls().items():
            if stalled_s > self._config.stalled_after_s:
                return f"{STALLS[cause]} for {stalled_s:.0f} s"
        return None

    def _measure_stalls(self) -> dict[str, float]:
        return {"back_pressure": self._consumer.full_for_s(), "places": self._flow.waits_for_s()}

    # What the consumer asks and tells.

    async def assigned(self, committed: Mapping[Place, Committed | None]) -> Mapping[Place, int]:
        notes = {
            place: None if known is None else parse_note(known.offset, known.metadata)
            for place, known in committed.items()
        }
        if self._is_stopping:
            return {}
        asking = asyncio.ensure_future(self._sink.assigned(notes))
        self._asking.add(asking)
        try:
            starts = await asking
        except asyncio.CancelledError:
            if not self._is_stopping:
                raise
            return {}  # nothing is read any more
        finally:
            self._asking.discard(asking)
        for place, known in committed.items():
            note = notes[place]
            if place in starts:
                mark = Watermark(starts[place])
            else:
                mark = Watermark(known.offset if known is not None else 0, note.done if note is not None else ())
            self._partitions[place] = Partition(place, mark)
            if known is not None:
                self._committed[place] = known
        log.info("assigned", partitions=len(committed))
        self.is_assigned.set()
        return starts

    def began_anew(self, fault: ReadFault) -> None:
        self.faults.note(fault)

    async def revoked(self, places: Sequence[Place]) -> Mapping[Place, Committed]:
        partitions = [self._partitions[place] for place in places if place in self._partitions]
        grace_s = self._config.shutdown_grace_s if self._is_stopping else self._config.rebalance_grace_s
        self._flow.drop(partitions)
        await self._flow.drain(partitions, grace_s)
        overflowing = self._find_overflowing()
        offsets = {partition.place: self._describe(partition, overflowing) for partition in partitions}
        self._let_go(partitions)
        await self._sink.revoked(places)
        log.info("revoked", partitions=len(places))
        return offsets

    def lost(self, places: Sequence[Place]) -> None:
        partitions = [self._partitions[place] for place in places if place in self._partitions]
        self._flow.drop(partitions)
        self._flow.abort(partitions)
        self._let_go(partitions)
        asyncio.ensure_future(self._sink.revoked(places))  # noqa: RUF006 - it only forgets

    def received(self, records: Sequence[LogRecord]) -> None:
        now_us = self._clock_us()
        try:
            for record in records:
                partition = self._partitions.get((record.topic, record.partition))
                if partition is None or self._is_stopping:
                    self._release(record)
                    continue
                expected = partition.mark.next_offset
                if record.offset > expected:
                    self._note_vacant(partition.place, expected, record.offset)
                partition.age.note(record.offset, record.timestamp_us)
                if record.topic in self._lead_names:
                    self._flow.parked_pace.note(now_us - record.timestamp_us)
                if not partition.mark.take(record.offset):
                    self._release(record)
                    continue
                if self._skips_probes and is_probe(record.value):
                    partition.mark.settle(record.offset)
                    self._release(record)
                    continue
                self._flow.admit(record, partition, now_us)
            self._flow.start()
        except Exception as error:
            self._fail(error)

    def measured(self, ends: Mapping[Place, int]) -> None:
        runnable = self._flow.waiting
        for place, end in ends.items():
            partition = self._partitions.get(place)
            if partition is None:
                continue
            lag = max(0, end - partition.mark.committable)
            self._metrics.lag_records.labels(*place).set(lag)
            self._measure_age(partition, lag)
            if place[0] in self._lead_names:
                runnable += max(0, end - partition.mark.next_offset)
        self._metrics.runnable_lag_records.set(runnable)

    def commit_ended(self, result: CommitResult) -> None:
        self._metrics.commits_total.labels(result).inc()
        self._is_commit_owed |= result == "failed"

    def reached(self, place: Place, offset: int) -> None:
        partition = self._partitions.get(place)
        if partition is not None and offset > partition.mark.next_offset:
            self._note_vacant(place, partition.mark.next_offset, offset)
            partition.mark.skip_to(offset)

    def met(self, fault: ReadFault) -> None:
        self.faults.note(fault)
        partition = self._partitions.get(fault.place)
        if partition is None:
            return
        if fault.kind == "unreadable":
            self._note_vacant(fault.place, partition.mark.next_offset, fault.end)
            partition.mark.skip_to(fault.end)
            return
        if fault.kind == "head_lost":
            self.missing(fault.place, fault.end - partition.mark.next_offset)
            if self._positions is not None:
                self._positions.note_vacant(fault.place, partition.mark.next_offset, fault.end)
            partition.mark.skip_to(fault.end)
            return
        # What is under way of the old log goes on and settles its own marks: the same offsets mean other records now.
        self._partitions[fault.place] = Partition(fault.place, Watermark(fault.end))
        if self._positions is not None:
            self._positions.set_back(fault.place, fault.end)
        self._committed.pop(fault.place, None)

    def missing(self, place: Place, records: int) -> None:
        topic, partition = place
        self._metrics.missing_total.labels(topic).inc(records)
        log.error("records_missing", topic=topic, partition=partition, records=records)

    def _note_vacant(self, place: Place, begin: int, end: int) -> None:
        """Nothing was read between these offsets."""
        if self._positions is not None:
            self._positions.note_vacant(place, begin, end)
        if begin > 0:
            self._consumer.explain(place, begin, end)

    def _release(self, record: LogRecord) -> None:
        self._consumer.release(1, len(record.value or b""))

    def _fail(self, error: BaseException) -> None:
        if not self._failure.done():
            self._failure.set_exception(error)

    async def _wait_for_failure(self) -> None:
        await asyncio.shield(self._failure)

    def _let_go(self, partitions: Sequence[Partition]) -> None:
        for partition in partitions:
            partition.is_ours = False
            if self._partitions.get(partition.place) is partition:
                del self._partitions[partition.place]
                metrics = self._metrics
                for gauge in (metrics.lag_records, metrics.lag_seconds, metrics.retention_used_ratio):
                    gauge.remove(*partition.place)
            self._committed.pop(partition.place, None)

    # Commits, timers, figures.

    async def _commit_regularly(self) -> None:
        all_at_s = time.monotonic()
        while True:
            await asyncio.sleep(self._config.commit_interval_s)
            if time.monotonic() - all_at_s > self._config.commit_all_interval_s:
                # Kafka forgets commits of topics that the group is not subscribed to (the tiers) after a time
                all_at_s = time.monotonic()
                self._is_commit_owed = True
            changed = {}
            overflowing = self._find_overflowing()
            for partition in self._partitions.values():
                described = self._describe(partition, overflowing)
                if self._is_commit_owed or self._committed.get(partition.place) != described:
                    changed[partition.place] = self._committed[partition.place] = described
            if changed:
                self._consumer.commit(changed)
            self._is_commit_owed = False

    def _find_overflowing(self) -> set[int]:
        """Numbers of partitions of which, in one topic or another, more is completed than a note can hold."""
        return {
            partition.place[1]
            for partition in self._partitions.values()
            if not fits(partition.mark.committable, partition.mark.completed_beyond())
        }

    def _describe(self, partition: Partition, overflowing: Container[int]) -> Committed:
        """What is to be committed.

        While not all that is completed fits into a note, it names what the one before named, and the place in the
        attempts that went with it: the attempts from there on tell what was completed since. Those of a retry stand
        in the partition of the attempts that has its number, and the topic that leads names the place for all.
        """
        offset, done = partition.mark.committable, partition.mark.completed_beyond()
        seen = self._bookmark.attempts_seen(partition.place, self._is_settled) if self._bookmark is not None else None
        before = self._committed.get(partition.place)
        if partition.place[1] in overflowing:
            note = parse_note(before.offset, before.metadata) if before is not None else CommitNote()
            done = [(max(first, offset), end) for first, end in note.done if end > offset]
            seen = note.attempts_offset
        return Committed(offset, format_note(offset, CommitNote(done=tuple(done), attempts_offset=seen)))

    def _is_settled(self, place: Place, offset: int) -> bool:
        partition = self._partitions.get(place)
        return partition is not None and partition.mark.is_settled(offset)

    async def _tick_regularly(self) -> None:
        for tick in itertools.count(1):
            await asyncio.sleep(TICK_S)
            if tick % ROTATE_TICKS == 0:
                self._flow.rotate()
            self._flow.tick(TICK_S, full_for_s=self._consumer.full_for_s())
            for cause, stalled_s in self._measure_stalls().items():
                self._metrics.stalled_seconds.labels(cause).set(stalled_s)
            self._metrics.parked_rate_per_second.set(self._flow.parked_pace.rate_per_s)
            self._metrics.in_flight.set(sum(len(partition.mark) for partition in self._partitions.values()))
            self._metrics.lanes.set(len(self._flow))
            if self._positions is not None:
                for place, partition in self._partitions.items():
                    if not len(partition.mark):
                        self._positions.reached(place, partition.mark.next_offset)

    def _measure_age(self, partition: Partition, lag: int) -> None:
        retention_s = self._retentions_s.get(partition.place[0])
        if retention_s is None:
            return
        now_us, settled = self._clock_us(), partition.mark.committable
        if not lag:
            partition.age.catch_up(settled, now_us)
        oldest_us = partition.age.oldest_us(settled)
        used_us = max(0, now_us - oldest_us) if oldest_us is not None else 0
        self._metrics.lag_seconds.labels(*partition.place).set(used_us / 1_000_000)
        self._metrics.retention_used_ratio.labels(*partition.place).set(used_us / 1_000_000 / retention_s)
