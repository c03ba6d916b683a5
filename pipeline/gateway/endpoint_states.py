"""Reads the endpoint states that the HTTP sink publishes, and has them acted on (`endpoint_actions`).

The sink does not speak to PostgreSQL, so it asks by a record; the gateways share these records as a consumer group. A
record is settled when PostgreSQL and the log have what follows from it; repeated after a crash it changes nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import structlog

from pipeline.config import KafkaConfig
from pipeline.core.events.records import EndpointState, OpenRequests, Record, RepublishAsked, from_bytes
from pipeline.gateway.endpoint_actions import EndpointActions
from pipeline.kafka.group.consumer import LogConsumer
from pipeline.kafka.group.handler import Handler
from pipeline.kafka.group.in_flight import Limits
from pipeline.kafka.read_faults import ReadFault, ReadFaults
from pipeline.kafka.record import Committed, LogRecord, Place
from pipeline.kafka.topic_ids import TopicIds
from pipeline.metrics import CommitResult, Metrics
from pipeline.postgres.archive.open_requests import save_open_requests
from pipeline.postgres.pool import DatabaseFailed, Pool
from pipeline.topics import Topics
from schemas import SchemaError

# States change rarely, and no request waits for them: an idle gateway polls Kafka twice a second, not ten times.
LINGER_S = 0.5
LIMITS = Limits(batch_max_records=100, in_flight_max_records=1000, in_flight_max_bytes=16 * 1024 * 1024)

log = structlog.get_logger()


class EndpointStates:
    """Follows the endpoint-states topic as one member of the gateways' group."""

    def __init__(
        self,
        kafka: KafkaConfig,
        topics: Topics,
        *,
        pool: Pool,
        actions: EndpointActions,
        metrics: Metrics,
        ids: TopicIds,
        faults: ReadFaults,
        clock_us: Callable[[], int],
        publish_all: Callable[[], Awaitable[None]],
        run_dir: Path | None,
    ) -> None:
        """`publish_all`: returns when each application has been published again. `run_dir`: see `LogConsumer`."""
        self._pool = pool
        self._actions = actions
        self._metrics = metrics
        self._clock_us = clock_us
        self._faults = faults
        self._publish_all = publish_all
        self._published_all_at_us = 0  # requests from before are served
        self._faults_met = 0
        self._records: asyncio.Queue[tuple[LogRecord, int]] = asyncio.Queue()  # with the faults met before it came
        self._ours: set[Place] = set()
        self._consumer = LogConsumer(
            kafka,
            group=f"{kafka.topic_prefix}gateway",
            topics=[topics.endpoint_states],
            limits=LIMITS,
            linger_s=LINGER_S,
            ids=ids,
            run_dir=run_dir,
        )

    async def run(self) -> None:
        """Runs until it is cancelled; raises what ends the consumer."""
        self._consumer.start(
            Handler(
                assignment=self,
                changes=self,
                received=self.received,
                measured=self.measured,
                commit_ended=self.commit_ended,
            )
        )
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._work())
                group.create_task(self._consumer.failure())
        finally:
            await self._consumer.close()

    def check(self) -> str | None:
        """Health: None, or the problem."""
        return self._consumer.check()

    def check_group(self) -> str | None:
        """See `Standing.check`."""
        return self._consumer.check_group()

    # What the consumer tells.

    async def assigned(self, committed: Mapping[Place, Committed | None]) -> Mapping[Place, int]:
        self._ours |= committed.keys()
        return {}

    def began_anew(self, fault: ReadFault) -> None:
        self._faults.note(fault)

    async def revoked(self, places: Sequence[Place]) -> Mapping[Place, Committed]:
        self._ours -= set(places)
        return {}

    def lost(self, places: Sequence[Place]) -> None:
        self._ours -= set(places)

    def received(self, records: Sequence[LogRecord]) -> None:
        for record in records:
            self._records.put_nowait((record, self._faults_met))

    def measured(self, ends: Mapping[Place, int]) -> None:
        """Nothing waits long here."""

    def commit_ended(self, result: CommitResult) -> None:
        self._metrics.commits_total.labels(result).inc()

    def reached(self, place: Place, offset: int) -> None:
        """Does nothing: no read depends on this position."""

    def met(self, fault: ReadFault) -> None:
        self._faults.note(fault)
        self._faults_met += 1

    def missing(self, place: Place, records: int) -> None:
        """Compaction removed only records that newer ones supersede."""

    async def _work(self) -> None:
        while True:
            record, faults_met = await self._records.get()
            if record.place in self._ours:
                await self._settle(record)
                if faults_met == self._faults_met:  # offsets read before may belong to another log
                    self._consumer.commit({record.place: Committed(record.offset + 1)})
            self._consumer.release(record)

    async def _settle(self, record: LogRecord) -> None:
        try:
            content = from_bytes(record.value or b"")
        except SchemaError as error:
            log.error("endpoint_state_unreadable", offset=record.offset, reason=str(error))
            return
        try:
            await self._act_on(content, record)
        except MemoryError:
            raise  # it says nothing about the record
        except Exception as error:
            # one record must stop neither the others nor the gateway
            log.error("endpoint_state_failed_internally", offset=record.offset, exc_info=error)
            self._metrics.internal_errors_total.inc()

    async def _act_on(self, content: Record, record: LogRecord) -> None:
        match content:
            case EndpointState():
                await self._actions.apply(content)
            case OpenRequests():
                await self._note_open_requests(content)
            case RepublishAsked():
                await self._republish(content, record.timestamp_us)
            case _:
                name = type(content).__name__
                log.error("endpoint_state_unreadable", offset=record.offset, reason=f"a {name} does not belong here")

    async def _republish(self, asked: RepublishAsked, asked_at_us: int) -> None:
        if asked_at_us < self._published_all_at_us:
            return
        log.warning("republish_asked", process=asked.process, topic=asked.topic)
        began_at_us = self._clock_us()
        await self._publish_all()
        self._published_all_at_us = began_at_us

    async def _note_open_requests(self, open_requests: OpenRequests) -> None:
        try:
            await save_open_requests(self._pool, open_requests, now_us=self._clock_us())
        except DatabaseFailed as error:
            # not tried again: reads need the same database, and would show these requests when they are long over
            log.warning("open_requests_not_noted", requests=len(open_requests.requests), reason=str(error))
