"""Faust's consumer, mended: nothing that was fetched is forgotten in a rebalance, aborted writes are not read, and it
needs no thread.

Only this module touches private parts of Faust and aiokafka; versions are pinned, and tests cover each use.
"""

import asyncio
import contextlib
import inspect
import math
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any

import aiokafka
import faust
import structlog
from aiokafka.consumer.fetcher import FetchResult
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError, RecordTooLargeError
from aiokafka.structs import OffsetAndMetadata
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from yarl import URL

from pipeline.kafka.group.standing import Standing
from pipeline.kafka.log_guard import RecordTime
from pipeline.kafka.read_faults import ReadFault, ReadFaults
from pipeline.kafka.record import LogRecord, Place
from pipeline.matcher.batches import ReadAside, stand_in
from pipeline.matcher.connections import guard_connections
from pipeline.matcher.coordination import guard_coordinator
from pipeline.matcher.fetch_pace import FetchPace
from pipeline.matcher.reading import Reading
from pipeline.supervisor import take_notice

# When there is nothing to be fetched: until it is looked at again.
HELD_REST_S = 0.05

log = structlog.get_logger()


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """Owns aiokafka's consumer. Faust gives it a thread; here it lives on the main loop.

    With a thread the matcher was woken ten times an event, without it once or twice (at 200 events a second).
    """

    def _create_worker_consumer(self, *arguments: Any, **options: Any) -> aiokafka.AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(*arguments, **options)
        # Faust offers it only together with its transactions. What a producer has aborted was never sent; the sinks
        # do not read it either.
        consumer._isolation_level = "read_committed"  # noqa: SLF001 - read when it starts
        return consumer

    async def start(self) -> None:
        self._thread_started.set()
        await self._default_start()

    async def on_start(self) -> None:
        await super().on_start()
        reader = self.consumer
        assert isinstance(reader, Consumer)  # noqa: S101 - which made this thread
        guard_connections(self._ensure_consumer()._client)  # noqa: SLF001
        guard_coordinator(self._ensure_consumer()._coordinator, reader.standing)  # noqa: SLF001
        fetcher = self._ensure_consumer()._fetcher  # noqa: SLF001
        fetch = fetcher._proc_fetch_request  # noqa: SLF001

        async def fetch_in_time(assignment: Any, node_id: int, request: Any) -> bool:
            # Here, not before records are taken: aiokafka asks for more when it has handed out what it has, so that a
            # record waited for the one before it as well (at 200 events a second, 10.8 ms to the receiver, not 3.1).
            with contextlib.suppress(asyncio.CancelledError):  # as aiokafka does
                await asyncio.sleep(reader.pace.rest_s(reader.loop.time()))
                if reader.held and not leave_out(request, reader.held):
                    await asyncio.sleep(HELD_REST_S)
                    return False
                has_fetched = bool(assignment.active) and bool(await fetch(assignment, node_id, request))
                # before a record of it is taken: the loop has not turned since it came
                stand_in(fetcher, reader.hold, reader.reading.batch_ends)
                return has_fetched
            return False

        fetcher._proc_fetch_request = fetch_in_time  # noqa: SLF001

    def _stopped_set(self) -> None:
        self._stopped.set()

    async def on_stop(self) -> None:
        await self._shutdown_thread()

    def member_id(self) -> str:
        """Return the consumer's member id."""
        coordinator = self._ensure_consumer()._coordinator  # noqa: SLF001
        return str(getattr(coordinator, "member_id", ""))

    def list_positions(self) -> dict[TP, int]:
        """Where the client reads on, of each partition that has a position."""
        assignment = self._ensure_consumer()._subscription.subscription.assignment  # noqa: SLF001
        if assignment is None:
            return {}
        states = {tp: assignment.state_value(tp) for tp in assignment.tps}
        return {
            TP(tp.topic, tp.partition): state.position
            for tp, state in states.items()
            if state is not None and state.has_valid_position
        }

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        # Faust's own writes no metadata, and ends the app at errors that the next commit gets over
        reader = self.consumer
        assert isinstance(reader, Consumer)  # noqa: S101 - which made this thread
        noted = {
            aiokafka.TopicPartition(tp.topic, tp.partition): OffsetAndMetadata(
                offset, reader.note_for((tp.topic, tp.partition), reader.reading.last_read(tp))
            )
            for tp, offset in offsets.items()
        }
        try:
            await self._ensure_consumer().commit(noted)
        except CommitFailedError:
            return False  # the group has gone on without us
        except KafkaError:
            raise  # the next commit may succeed
        except Exception as error:
            await self.crash(error)
            return False
        return True

    async def call_thread(self, fun: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call the function here. As with a thread, it goes on when its caller is cancelled."""
        result = fun(*args, **kwargs)
        if not inspect.isawaitable(result):
            return result
        going_on = asyncio.ensure_future(result)
        # a caller that has given up (Faust, in a rebalance while the broker is away) does not ask how it ended
        going_on.add_done_callback(take_notice)
        return await asyncio.shield(going_on)

    async def getmany(
        self,
        active_partitions: set[TP] | None,
        timeout: float | None,  # noqa: ASYNC109 - the parent's signature
    ) -> Mapping[TP, list[Any]]:
        """Fetch. Not by `call_thread`: records fetched after the caller's cancellation would be lost."""
        consumer = self._ensure_consumer()
        partitions: Any = active_partitions  # None means all, whatever the annotation says
        records_max = consumer._max_poll_records  # noqa: SLF001
        records: Mapping[TP, list[Any]]
        try:
            records = await self._fetch_records(consumer, partitions, timeout, records_max)
        except RecordTooLargeError as error:
            # Its length is damaged. aiokafka has gone one offset on.
            _, tp, offset, _ = error.args
            reader = self.consumer
            assert isinstance(reader, Consumer)  # noqa: S101 - which made this thread
            reader.hold(TP(tp.topic, tp.partition))
            consumer.seek(tp, offset)
            return {}
        return records

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Do nothing: Faust watches over its own acks, which are not used here, and ends the app at a partition without
        a position, as one is for a moment when a broker has lost its log's end.
        """

    def has_fetched(self, tp: TP) -> bool:
        """Does the client have records of this partition that were not taken yet?"""
        return tp in self._ensure_consumer()._fetcher._records  # noqa: SLF001

    def hand(self, tp: TP, position: int, records: Sequence[LogRecord]) -> None:
        """Give the client records as if it had fetched them. It drops them if it is not at `position` any more."""
        fetcher = self._ensure_consumer()._fetcher  # noqa: SLF001
        assignment = fetcher._subscriptions.subscription.assignment  # noqa: SLF001
        if assignment is None or tp not in assignment.tps:
            return
        fetched = FetchResult(tp, assignment=assignment, partition_records=ReadAside(position, records), backoff=0)
        fetcher._records[tp] = fetched  # noqa: SLF001
        for waiter in fetcher._fetch_waiters:  # noqa: SLF001
            fetcher._notify(waiter)  # noqa: SLF001


class NothingRead(dict[TP, int | None]):
    """Replaces Faust's notes of the last offset that was read, and stays empty. Faust drops records before that offset.

    The matcher reads such records on purpose, after the log was cut off or made again. Faust's note of a seek to the
    commit, or of a chunk on its way, may come after that. Repeats are recognised by their ids.
    """

    def __getitem__(self, tp: TP) -> int | None:
        return None

    def __setitem__(self, tp: TP, offset: int | None) -> None:
        return

    def update(self, *_: Any, **__: Any) -> None:
        """Note nothing."""


class Consumer(driver.Consumer):
    """Reads for the matcher."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._read_offset = NothingRead()
        self.reading = Reading()
        transport = self.transport
        assert isinstance(transport, Transport)  # noqa: S101 - which made this one
        self.faults = transport.faults
        self.standing = transport.standing
        # the metadata of a commit, by the last record that was read since the log was looked at
        self.note_for: Callable[[Place, RecordTime | None], str] = lambda *_: ""
        self.pace = FetchPace()
        self.held: set[TP] = set()  # partitions that are not fetched
        self.is_holding = asyncio.Event()

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon, thread_loop=self.loop)

    def hold(self, tp: TP) -> None:
        """Stop fetching a partition: its next records are read by the log's bytes."""
        self.held.add(tp)
        self.is_holding.set()

    def let_go(self, tp: TP) -> None:
        """Fetch the partition again."""
        self.held.discard(tp)
        if not self.held:
            self.is_holding.clear()

    def has_fetched(self, tp: TP) -> bool:
        """Does the client have records of this partition that were not taken yet?"""
        return self._aiokafka_thread.has_fetched(tp)

    def hand(self, tp: TP, position: int, records: Sequence[LogRecord]) -> None:
        """Give the client records as if it had fetched them. It drops them if it is not at `position` any more."""
        self._aiokafka_thread.hand(tp, position, records)

    async def rewind(self, tp: TP, offset: int) -> None:
        """Read on from an offset that lies before what was read."""
        await self.seek(tp, offset)
        self.reading.begin(tp, offset)

    async def skip(self, fault: ReadFault) -> None:
        """Read on behind an unreadable batch."""
        tp = TP(*fault.place)
        self.faults.note(fault)
        await self.seek(tp, fault.end)
        self.reading.reach(tp, fault.end)

    async def commit_offsets(self, offsets: Mapping[TP, int]) -> bool:
        """Commit exactly these offsets. False when another member owns the partitions.

        Faust's own acks do not work with chunks.
        """
        held = {tp: offset for tp, offset in offsets.items() if tp in self.assignment()}
        return not held or bool(await self._commit(held))

    async def _getmany(
        self,
        active_partitions: set[TP] | None,
        timeout: float,  # noqa: ASYNC109 - the parent's signature
    ) -> Mapping[TP, list[Any]]:
        """Fetch. What arrives in the middle of a rebalance, or behind one, is put back.

        A fetch that waits when a rebalance begins returns records of the new assignment. Faust drops them, and goes
        back only to what has been committed: of a partition without a commit they would be lost.
        """
        generation = self.app.consumer_generation_id
        records: Mapping[TP, list[Any]] = await super()._getmany(active_partitions, timeout)
        if records:
            self.pace.note(sum(len(fetched) for fetched in records.values()), self.loop.time())
        if self.flow_active and generation == self.app.consumer_generation_id:
            for tp, fetched in records.items():
                self.reading.note(tp, fetched[0], fetched[-1], self._committed_offset.get(tp))
            # no turn of the loop since the records were taken: what lies before these positions is noted, or no record
            for tp, position in self.list_positions().items():
                self.reading.reach(tp, position)
            return records
        if not records:
            return records
        log.info("fetch_put_back", records=sum(len(fetched) for fetched in records.values()))
        for tp, fetched in records.items():
            if self.list_positions().get(tp, math.inf) <= fetched[0].offset:
                continue  # sent back meanwhile, to the beginning of another log, and not to be taken forward again
            try:
                await self.seek_wait({tp: fetched[0].offset})
            except IllegalStateError:
                continue  # another member owns it by now
        return {}

    @property
    def member_id(self) -> str:
        """The id that the group's coordinator gave to this member; empty: it is none."""
        return self._aiokafka_thread.member_id()

    def list_positions(self) -> dict[TP, int]:
        """Where the client reads on, of each partition that has a position."""
        return self._aiokafka_thread.list_positions()

    @property
    def _aiokafka_thread(self) -> ConsumerThread:
        thread = self._thread
        assert isinstance(thread, ConsumerThread)  # noqa: S101 - which made this one
        return thread


class Transport(driver.Transport):
    """Makes Faust use the consumer above."""

    Consumer = Consumer

    def __init__(self, servers: list[URL], app: faust.App, faults: ReadFaults, standing: Standing) -> None:
        super().__init__(servers, app)
        self.faults = faults
        self.standing = standing


def leave_out(request: Any, held: Container[TP]) -> bool:
    """Ask for nothing of these. False: then nothing is left."""
    kept = [
        (topic, left)
        for topic, parts in request._topics  # noqa: SLF001 - the builder's, before it is sent
        if (left := [part for part in parts if (topic, part[0]) not in held])
    ]
    request._topics = kept  # noqa: SLF001
    return bool(kept)


def consumer_of(app: faust.App) -> Consumer:
    """The app's consumer, as the kind that it is."""
    assert isinstance(app.consumer, Consumer)  # noqa: S101 - by the transport that `build_app` gave it
    return app.consumer
