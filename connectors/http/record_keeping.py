"""The records of an attempt, in the order of writing: its successor (a retry or a dead letter), then the attempt.

Everything is encoded before anything is written, so that no delivery gets two successors. The successor is acknowledged
before the attempt is written: a crash in between repeats work under the same ids, and loses nothing.
"""

import msgspec
import structlog

from connectors.http.attempt import describe_attempt
from connectors.http.client.exchange import ErrorClass
from connectors.http.failure import decide_after_error, describe_error
from connectors.http.ledger import Ledger
from connectors.http.outbox import Outbox, Written
from connectors.http.verdict import Verdict
from connectors.sink import LogRecord
from pipeline.core.events.records import Attempt, Delivery, Endpoint
from pipeline.core.retries.retry import GiveUp, RetryAt
from pipeline.core.trace_context import TraceHeaders
from pipeline.kafka.producer import ToSend
from pipeline.kill_points import KillPoints
from pipeline.metrics import Metrics

log = structlog.get_logger()


class RecordKeeping:
    """Writes attempts and their successors by the outbox, and enters attempts in the ledger."""

    def __init__(self, outbox: Outbox, ledger: Ledger, *, kill_points: KillPoints, metrics: Metrics) -> None:
        self._outbox = outbox
        self._ledger = ledger
        self._kill_points = kill_points
        self._metrics = metrics

    def encode(
        self,
        record: LogRecord,
        delivery: Delivery,
        attempt: Attempt,
        decision: RetryAt | GiveUp | None,
        now_us: int,
        *,
        headers: TraceHeaders | None,
    ) -> tuple[ToSend, ToSend | None]:
        """The attempt, and its successor unless it succeeded. `headers`: of the attempt.

        Its successor has the record's, so that all attempts of a delivery are beside each other in its trace.
        """
        encoded = self._outbox.encode_attempt(attempt, headers)
        return encoded, self._encode_successor(record, delivery, decision, now_us)

    async def write(self, record: LogRecord, attempt: Attempt, encoded: tuple[ToSend, ToSend | None]) -> Written:
        """Write what `encode` returned. The record is settled when the future is done."""
        encoded_attempt, successor = encoded
        if successor is not None:
            await self._outbox.write_and_wait(successor)
            self._kill_points.reach("after_successor")
        return self._write_attempt(record, attempt, encoded_attempt)

    def write_cancelled(self, record: LogRecord, delivery: Delivery, endpoint: Endpoint, now_us: int) -> Written:
        """The subscription was deleted or disabled: an attempt without a request, and no successor."""
        detail = "the subscription was deleted" if endpoint.deleted else "the subscription was disabled"
        attempt = describe_attempt(
            record,
            delivery,
            endpoint,
            outcome="cancelled",
            verdict=Verdict(error_class=None, detail=detail, is_overload=False, is_fault=False),
            started_at_us=now_us,
            finished_at_us=now_us,
        )
        encoded = self._outbox.encode_attempt(attempt, record.trace)
        self._metrics.attempts_total.labels("cancelled", "").inc()
        return self._write_attempt(record, attempt, encoded)

    async def write_error(
        self,
        record: LogRecord,
        delivery: Delivery,
        endpoint: Endpoint | None,
        error: Exception,
        *,
        started_at_us: int,
        now_us: int,
    ) -> Written:
        """An exception that no code foresaw is a failed attempt. Uses as little as possible of what may have raised it.

        `endpoint`: None when it could not be found.
        """
        log.error(
            "delivery_failed_internally",
            delivery_id=delivery.delivery_id,
            attempt_number=delivery.attempt_number,
            exc_info=error,
        )
        decision = decide_after_error(delivery, endpoint, now_us)
        due_at_us = decision.due_at_us if isinstance(decision, RetryAt) else None
        attempt = describe_error(
            record,
            delivery,
            endpoint,
            error,
            started_at_us=started_at_us,
            finished_at_us=now_us,
            next_due_at_us=due_at_us,
        )
        encoded = self.encode(record, delivery, attempt, decision, now_us, headers=record.trace)
        self._metrics.attempts_total.labels("failed", ErrorClass.INTERNAL).inc()
        self._metrics.internal_errors_total.inc()
        return await self.write(record, attempt, encoded)

    def _encode_successor(
        self, record: LogRecord, delivery: Delivery, decision: RetryAt | GiveUp | None, now_us: int
    ) -> ToSend | None:
        match decision:
            case RetryAt(due_at_us=due_at_us):
                retry = msgspec.structs.replace(
                    delivery,
                    attempt_number=delivery.attempt_number + 1,
                    due_at_us=due_at_us,
                    parked_times=0,
                    is_forced=False,  # one attempt was asked for
                )
                return self._outbox.encode_retry(retry, due_at_us - now_us, record.trace)
            case GiveUp(reason=reason, detail=detail):
                return self._outbox.encode_dead(record, reason, detail, delivery)
            case None:
                return None

    def _write_attempt(self, record: LogRecord, attempt: Attempt, encoded: ToSend) -> Written:
        written = self._outbox.write(encoded)
        written.add_done_callback(lambda _: self._kill_points.reach("after_recording"))
        self._ledger.add(attempt.attempt_id, record.partition, written)
        return written
