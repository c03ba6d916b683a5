"""Everything deliver writes to the log: retries, parked deliveries, attempts, dead letters, states of endpoints.

Encoding and writing are apart. A record that cannot be encoded is a failure of one delivery; one that cannot be written
concerns the process, and is raised as `WriteError`.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from connectors.sink import LogRecord
from pipeline.clock import wall_us
from pipeline.core.events.dead_letters import make_dead_letter
from pipeline.core.events.records import (
    Attempt,
    Delivery,
    EndpointState,
    OpenRequests,
    Record,
    is_written,
    to_bytes,
)
from pipeline.core.retries.tiers import choose_tier
from pipeline.core.trace_context import TraceHeaders
from pipeline.kafka.endpoint_states_view import OPEN_REQUESTS_KEY
from pipeline.kafka.failures import trace
from pipeline.kafka.producer import Placement, ToSend
from pipeline.metrics import Metrics
from pipeline.topics import Topics

log = structlog.get_logger()

Written = asyncio.Future[Placement]


class Writer(Protocol):
    """Writes to the log, in order."""

    def send_bytes(self, records: Sequence[ToSend]) -> Written:
        """The future is done when all records are acknowledged."""

    async def wait_open(self) -> None:
        """Return when the outcome of a request made now can be written."""


class WriteError(Exception):
    """The log did not take a record: this ends the process, with offsets uncommitted."""


class Outbox:
    """Encodes records, and writes them through a `Writer`."""

    def __init__(
        self, topics: Topics, writer: Writer, metrics: Metrics, *, clock_us: Callable[[], int] = wall_us
    ) -> None:
        self._topics = topics
        self._writer = writer
        self._metrics = metrics
        self._clock_us = clock_us
        self.delays_s = [tier.delay_s for tier in topics.retries]

    # Encoding.

    def encode_retry(self, retry: Delivery, wait_us: int, headers: TraceHeaders | None) -> ToSend:
        """Encode a delivery for the retry topic from which it comes back after `wait_us`."""
        tier = self._topics.retries[choose_tier(self.delays_s, wait_us)]
        return trace((tier, retry.subscription_id.encode(), to_bytes(retry)), headers)

    def encode_attempt(self, attempt: Attempt, headers: TraceHeaders | None) -> ToSend:
        return trace((self._topics.attempts, attempt.subscription_id.encode(), to_bytes(attempt)), headers)

    def encode_dead(self, record: LogRecord, reason: str, detail: str, delivery: Delivery | None = None) -> ToSend:
        """The dead letter of a record. `delivery`: what it holds, if it could be read."""
        letter = make_dead_letter(
            reason,
            detail,
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            key=record.key,
            value=record.value,
            appended_at_us=record.timestamp_us,
            died_at_us=self._clock_us(),
            delivery=delivery,
        )
        self._metrics.dead_total.labels(reason).inc()
        key = (record.key or b"").decode(errors="replace").encode()
        return trace((self._topics.dead, key, to_bytes(letter)), record.trace)

    # Writing.

    async def wait_open(self) -> None:
        """Return when the outcome of a request made now can be written."""
        await self._writer.wait_open()

    def write(self, encoded: ToSend) -> Written:
        """Write an encoded record. Raises `WriteError`."""
        return self.write_all([encoded])

    def write_all(self, records: Sequence[ToSend]) -> Written:
        """Write encoded records; done when all are acknowledged. Raises `WriteError`."""
        for topic, *_ in records:
            if topic in self._topics.retries:
                self._metrics.retries_scheduled_total.labels(topic.name).inc()
        try:
            return self._writer.send_bytes(records)
        except Exception as error:
            names = ", ".join(sorted({topic.name for topic, *_ in records}))
            raise WriteError(f"cannot write to {names}: {error}") from error

    async def write_and_wait(self, encoded: ToSend) -> None:
        """Write, and return when it is acknowledged. Raises `WriteError`."""
        written = self.write(encoded)
        try:
            await written
        except Exception as error:
            raise WriteError(f"cannot write to {encoded[0].name}: {error}") from error

    def put_in_tier(self, record: LogRecord, number: int) -> Written:
        """Write a record into a retry tier, byte for byte.

        Parking must be much quicker than delivering, or one endpoint's backlog would hold up what lies behind it in the
        log (6 µs; decoded and encoded again 20).
        """
        return self.write(trace((self._topics.retries[number], record.key or b"", record.value), record.trace))

    def park(self, record: LogRecord, number: int, reason: str) -> Written:
        """Park a record in a retry tier until there is capacity. It counts no attempt."""
        self._metrics.parked_total.labels(reason).inc()
        return self.put_in_tier(record, number)

    def park_again(self, delivery: Delivery, wait_us: int, reason: str, headers: TraceHeaders | None) -> Written:
        """Park a delivery until the control plane has answered. The delivery counts how often it was parked."""
        encoded = self.encode_retry(delivery, wait_us, headers)
        self._metrics.parked_total.labels(reason).inc()
        return self.write(encoded)

    def give_up(self, record: LogRecord, reason: str, detail: str, delivery: Delivery | None = None) -> Written:
        """Write a dead letter."""
        return self.write(self.encode_dead(record, reason, detail, delivery))

    def publish_state(self, state: EndpointState) -> None:
        """Write the health of an endpoint. Not awaited: a state that is lost is written again when it changes."""

        def report(error: BaseException) -> None:
            log.warning("endpoint_state_unpublished", subscription_id=state.subscription_id, reason=str(error))

        self._publish(state.subscription_id, state, report)

    def publish_open_requests(self, requests: OpenRequests) -> None:
        """Write which requests are open. Not awaited: requests whose record is lost are shown as pending."""

        def report(error: BaseException) -> None:
            log.warning("open_requests_unpublished", requests=len(requests.requests), reason=str(error))

        if is_written(OpenRequests):
            self._publish(OPEN_REQUESTS_KEY, requests, report)

    def _publish(self, key: str, record: Record, report: Callable[[BaseException], None]) -> None:
        written = self.write((self._topics.endpoint_states, key.encode(), to_bytes(record)))

        def on_done(done: Written) -> None:
            if not done.cancelled() and (error := done.exception()) is not None:
                report(error)

        written.add_done_callback(on_done)
