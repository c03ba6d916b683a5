"""The one consume loop of every sink: lanes, bounds, settling, commits, rebalancing, shutdown.

A record is taken from Kafka, waits in its lane, is put by the sink, and is settled. Below the watermark everything is
settled; that is committed, with what is settled beyond it. Nothing here ever waits for one record on behalf of another.
"""

import asyncio
import itertools
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from connectors.sink import LogRecord, Place, Sink
from pipeline.config import KafkaConfig, WorkerConfig
from pipeline.core.ages import Ages
from pipeline.core.lanes import NO_JAM, Gate, Lanes
from pipeline.core.parked_pace import ParkedPace
from pipeline.core.ranges import CommitNote, fits, format_note, parse_note
from pipeline.core.watermark import Watermark
from pipeline.kafka.consumer import Limits, LogConsumer
from pipeline.kafka.record import Committed
from pipeline.metrics import CommitResult, Metrics
from pipeline.topics import Topic

# A record that is due within this waits here; one that is due later waits in Kafka.
HOLD_MAX_US = 1_000_000
SLOW_SHARE = 0.5  # of all that may be open at once, for lanes that are slow
TICK_S = 0.25
ROTATE_TICKS = 40  # ten seconds

log = structlog.get_logger()


@dataclass(slots=True, eq=False)
class Source:
    """One partition as long as it is ours."""

    place: Place
    mark: Watermark
    ages: Ages = field(default_factory=Ages)
    open: int = 0  # records given to the sink and not settled
    is_ours: bool = True


@dataclass(slots=True, eq=False)
class Work:
    """A record on its way through this process."""

    record: LogRecord
    source: Source


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
        batch_max: int = 1,
        linger_s: float = 0,
    ) -> None:
        """`open_max`: calls of `put` at once; `batch_max`: records in one call; `linger_s`: see `LogConsumer`."""
        self._sink = sink
        self._config = config
        self._metrics = metrics
        self._lead_names = frozenset(topic.name for topic in lead)
        self._retentions_s = {topic.name: topic.retention_s for topic in (*lead, *companions) if topic.retention_s}
        self._open_max = open_max
        self._slow_max = max(1, int(open_max * SLOW_SHARE))
        self._open = 0
        self._open_slow = 0
        self._lanes: Lanes[Work] = Lanes(sink.gate, batch_max=batch_max)
        self._parked_pace = ParkedPace(rate_min_per_s=config.parked_rate_min_per_s)
        self._next_start: asyncio.TimerHandle | None = None
        self._sources: dict[Place, Source] = {}
        self._busy_gates: dict[Hashable, tuple[Gate, int]] = {}  # with how many are open
        self._tasks: dict[asyncio.Task[None], list[Work]] = {}
        self._asking: set[asyncio.Future[Mapping[Place, int]]] = set()
        self._progress = asyncio.Event()  # set whenever something was settled
        self._is_stopping = False
        self._failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._committed: dict[Place, Committed] = {}
        self._is_commit_owed = False
        self._settled_at_s = time.monotonic()
        self.is_assigned = asyncio.Event()
        limits = Limits(
            batch_max_records=config.batch_size,
            in_flight_max_records=config.in_flight_max,
            in_flight_max_bytes=config.in_flight_max_bytes,
        )
        self._consumer = LogConsumer(
            kafka, self, group=group, topics=lead, companions=companions, limits=limits, linger_s=linger_s
        )

    async def run(self, stopping: asyncio.Event) -> None:
        """Consume until `stopping`, then settle what is open, commit, and leave the group. Raises what went wrong."""
        self._consumer.start()
        tasks = [
            asyncio.create_task(self._commit_regularly()),
            asyncio.create_task(self._tick_regularly()),
            asyncio.create_task(self._wait_for_failure()),
            asyncio.create_task(self._consumer.failure()),
            asyncio.create_task(stopping.wait()),
        ]
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        self._is_stopping = True
        for task in tasks:
            task.cancel()
        # a sink that waits for its target to make it the owner of partitions would keep the consumer from closing
        for asking in self._asking:
            asking.cancel()
        for task in done:
            task.result()
        await self._consumer.close()

    def check(self) -> str | None:
        """Health: None, or what is wrong."""
        waited_s = time.monotonic() - self._settled_at_s
        if self._tasks and waited_s > self._config.stuck_after_s:
            return f"nothing was settled for {waited_s:.0f} s"
        return self._consumer.check()

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
            self._sources[place] = Source(place, mark)
        log.info("assigned", partitions=len(committed))
        self.is_assigned.set()
        return starts

    async def revoked(self, places: Sequence[Place]) -> Mapping[Place, Committed]:
        sources = [self._sources[place] for place in places if place in self._sources]
        grace_s = self._config.shutdown_grace_s if self._is_stopping else self._config.rebalance_grace_s
        self._drop(lambda work: work.source in sources)
        await self._drain(sources, grace_s)
        offsets = {source.place: self._describe(source) for source in sources}
        self._let_go(sources)
        await self._sink.revoked(places)
        log.info("revoked", partitions=len(places))
        return offsets

    def lost(self, places: Sequence[Place]) -> None:
        sources = [self._sources[place] for place in places if place in self._sources]
        self._drop(lambda work: work.source in sources)
        self._abort(sources)
        self._let_go(sources)
        asyncio.ensure_future(self._sink.revoked(places))  # noqa: RUF006 - it only forgets

    def received(self, records: Sequence[LogRecord]) -> None:
        now_us = time.time_ns() // 1000
        try:
            for record in records:
                source = self._sources.get((record.topic, record.partition))
                if source is None or self._is_stopping:
                    self._release(record)
                    continue
                expected = source.mark.next_offset
                if record.offset > expected and expected > 0:
                    self._consumer.explain(source.place, expected, record.offset)
                source.ages.note(record.offset, record.timestamp_us)
                if record.topic in self._lead_names:
                    self._parked_pace.note(now_us - record.timestamp_us)
                if not source.mark.take(record.offset):
                    self._release(record)
                    continue
                self._admit(Work(record, source), now_us)
            self._start_work(now_us)
        except Exception as error:
            self._fail(error)

    def measured(self, ends: Mapping[Place, int]) -> None:
        runnable = self._lanes.waiting
        for place, end in ends.items():
            source = self._sources.get(place)
            if source is None:
                continue
            lag = max(0, end - source.mark.committable)
            self._metrics.lag_records.labels(*place).set(lag)
            self._measure_age(source, lag)
            if place[0] in self._lead_names:
                runnable += max(0, end - source.mark.next_offset)
        self._metrics.runnable_lag_records.set(runnable)

    def commit_ended(self, result: CommitResult) -> None:
        self._metrics.commits_total.labels(result).inc()
        self._is_commit_owed |= result == "failed"

    def missing(self, place: Place, records: int) -> None:
        topic, partition = place
        self._metrics.missing_total.labels(topic).inc(records)
        log.error("records_missing", topic=topic, partition=partition, records=records)

    # The way of a record.

    def _admit(self, work: Work, now_us: int) -> None:
        sink, record = self._sink, work.record
        due_at_us = sink.due_at_us(record)
        wait_us = due_at_us - now_us
        if wait_us > HOLD_MAX_US:
            self._settle_after(sink.put_away(record, NO_JAM, now_us), [work])
        elif wait_us > 0:
            self._hold(work, due_at_us, wait_us)
        else:
            self._line_up(work, now_us)

    def _hold(self, work: Work, due_at_us: int, wait_us: int) -> None:
        asyncio.get_running_loop().call_later(wait_us / 1_000_000, self._admit_held, work, due_at_us)

    def _admit_held(self, work: Work, due_at_us: int) -> None:
        now_us = time.time_ns() // 1000
        if now_us < due_at_us:
            # timers have a resolution of a millisecond and may be early by as much
            self._hold(work, due_at_us, max(due_at_us - now_us, 1000))
            return
        if not work.source.is_ours or self._is_stopping:
            self._release(work.record)
            return
        try:
            self._line_up(work, now_us)
            self._start_work(now_us)
        except Exception as error:
            self._fail(error)

    def _line_up(self, work: Work, now_us: int) -> None:
        key = self._sink.lane(work.record)
        if not self._lanes.offer(key, work, now_us, self._sink.rank(work.record)):
            self._settle_after(self._sink.put_away(work.record, self._lanes.describe_jam(key, now_us), now_us), [work])

    def _start_work(self, now_us: int) -> None:
        while self._open < self._open_max:
            wait_us = self._parked_pace.wait_us(now_us) if self._lanes.has_parked else 0
            taken = self._lanes.take(now_us, with_slow=self._open_slow < self._slow_max, with_parked=not wait_us)
            if taken is None:
                if wait_us:
                    self._start_again_after(wait_us)
                return
            for _ in range(taken.parked):
                self._parked_pace.start()
            gate, key, works = taken.gate, taken.key, taken.items
            self._open += 1
            _, count = self._busy_gates.get(key, (gate, 0))
            self._busy_gates[key] = (gate, count + 1)
            for work in works:
                work.source.open += 1
            task = asyncio.create_task(self._put(gate, key, works))
            self._tasks[task] = works

    def _start_again_after(self, wait_us: int) -> None:
        if self._next_start is None:
            self._next_start = asyncio.get_running_loop().call_later(wait_us / 1_000_000, self._start_again)

    def _start_again(self) -> None:
        self._next_start = None
        try:
            self._start_work(time.time_ns() // 1000)
        except Exception as error:
            self._fail(error)

    async def _put(self, gate: Gate, key: Hashable, works: list[Work]) -> None:
        task = asyncio.current_task()
        try:
            settled = await self._sink.put([work.record for work in works])
        except asyncio.CancelledError:
            self._end(gate, key)
            self._close(works)
            raise
        except Exception as error:
            self._fail(error)
            return
        finally:
            if task is not None:
                self._tasks.pop(task, None)
        if settled is None:
            self._end(gate, key)
            self._settle(works)
            self._start_work(time.time_ns() // 1000)
        else:
            self._settle_after(settled, works, gate=gate, key=key)

    def _end(self, gate: Gate, key: Hashable) -> None:
        now_us = time.time_ns() // 1000
        self._open -= 1
        _, count = self._busy_gates.pop(key)
        if count > 1:
            self._busy_gates[key] = (gate, count - 1)
        gate.end(now_us)
        if gate.accepts(0, now_us):
            self._lanes.refresh(key, now_us)
            return
        # the gate has closed: what waits behind it waits elsewhere
        for work in self._lanes.evict(key):
            self._settle_after(self._sink.put_away(work.record, NO_JAM, now_us), [work])

    def _settle_after(
        self, future: "asyncio.Future[Any]", works: list[Work], *, gate: Gate | None = None, key: Hashable = None
    ) -> None:
        """`gate`, `key`: of the lane that holds its place until then; None: these never had one.

        A place is held until the record is settled, so that no more is repeated after a kill than might be open.
        """
        if gate is None:
            for work in works:
                work.source.open += 1

        def on_done(done: "asyncio.Future[Any]") -> None:
            try:
                if gate is not None:
                    self._end(gate, key)
                if done.cancelled():
                    self._close(works)
                elif (error := done.exception()) is not None:
                    self._fail(error)
                else:
                    self._settle(works)
                if gate is not None:
                    self._start_work(time.time_ns() // 1000)
            except Exception as error:
                self._fail(error)

        future.add_done_callback(on_done)

    def _settle(self, works: list[Work]) -> None:
        for work in works:
            work.source.mark.settle(work.record.offset)
        self._settled_at_s = time.monotonic()
        self._close(works)

    def _close(self, works: list[Work]) -> None:
        for work in works:
            work.source.open -= 1
            self._release(work.record)
        self._progress.set()

    def _release(self, record: LogRecord) -> None:
        self._consumer.release(1, len(record.value or b""))

    def _fail(self, error: BaseException) -> None:
        if not self._failure.done():
            self._failure.set_exception(error)

    async def _wait_for_failure(self) -> None:
        await asyncio.shield(self._failure)

    # Giving partitions away.

    def _drop(self, is_unwanted: Callable[[Work], bool]) -> None:
        for work in self._lanes.drop(is_unwanted):
            self._release(work.record)

    async def _drain(self, sources: Sequence[Source], grace_s: float) -> None:
        deadline_s = time.monotonic() + grace_s
        while any(source.open for source in sources):
            self._progress.clear()
            left_s = deadline_s - time.monotonic()
            try:
                async with asyncio.timeout(max(0.0, left_s)):
                    await self._progress.wait()
            except TimeoutError:
                open_records = sum(source.open for source in sources)
                log.warning("drain_timed_out", grace_s=grace_s, open_records=open_records)
                self._abort(sources)
                await asyncio.sleep(0)
                return

    def _abort(self, sources: Sequence[Source]) -> None:
        """What is open is repeated by whoever reads these partitions next."""
        for task, works in list(self._tasks.items()):
            if any(work.source in sources for work in works):
                task.cancel()

    def _let_go(self, sources: Sequence[Source]) -> None:
        for source in sources:
            source.is_ours = False
            if self._sources.get(source.place) is source:
                del self._sources[source.place]
                for gauge in (self._metrics.lag_records, self._metrics.retention_used_ratio):
                    gauge.remove(*source.place)
            self._committed.pop(source.place, None)

    # Commits, timers, figures.

    async def _commit_regularly(self) -> None:
        while True:
            await asyncio.sleep(self._config.commit_interval_s)
            changed = {}
            for source in self._sources.values():
                described = self._describe(source)
                if self._is_commit_owed or self._committed.get(source.place) != described:
                    changed[source.place] = self._committed[source.place] = described
            if changed:
                self._consumer.commit(changed)
            self._is_commit_owed = False

    def _describe(self, source: Source) -> Committed:
        offset, done = source.mark.committable, tuple(source.mark.completed_beyond())
        seen = self._sink.attempts_seen(source.place, self._is_settled)
        if seen is not None and not fits(offset, done):
            # what is left out of the note must still be found by reading attempts from the place noted before
            before = self._committed.get(source.place)
            seen = parse_note(before.offset, before.metadata).attempts_offset if before is not None else None
        return Committed(offset, format_note(offset, CommitNote(done=done, attempts_offset=seen)))

    def _is_settled(self, place: Place, offset: int) -> bool:
        source = self._sources.get(place)
        return source is not None and source.mark.is_settled(offset)

    async def _tick_regularly(self) -> None:
        for tick in itertools.count(1):
            await asyncio.sleep(TICK_S)
            if tick % ROTATE_TICKS == 0:
                self._lanes.rotate()
            now_us = time.time_ns() // 1000
            self._open_slow = sum(count for gate, count in self._busy_gates.values() if gate.is_slow(now_us))
            self._parked_pace.adjust(now_us, TICK_S)
            self._metrics.parked_rate_per_second.set(self._parked_pace.rate_per_s)
            self._start_work(now_us)
            self._metrics.in_flight.set(sum(len(source.mark) for source in self._sources.values()))
            self._metrics.lanes.set(len(self._lanes))

    def _measure_age(self, source: Source, lag: int) -> None:
        retention_s = self._retentions_s.get(source.place[0])
        if retention_s is None:
            return
        now_us, settled = time.time_ns() // 1000, source.mark.committable
        if not lag:
            source.ages.catch_up(settled, now_us)
        oldest_us = source.ages.oldest_us(settled)
        used_us = max(0, now_us - oldest_us) if oldest_us is not None else 0
        self._metrics.retention_used_ratio.labels(*source.place).set(used_us / 1_000_000 / retention_s)
