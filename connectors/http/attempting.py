"""One attempt of a delivery that may be sent now: send → judge → decide → describe → write; one span of its trace."""

from typing import TYPE_CHECKING

from connectors.http.learning import Learning
from connectors.http.outbox import Written
from connectors.http.record_keeping import RecordKeeping
from connectors.http.sending import Sender
from connectors.http.steps import Steps
from connectors.http.target import Target
from connectors.http.verdict import Verdict
from connectors.sink import LogRecord
from pipeline.core.events.claim_check import Payload
from pipeline.core.events.records import Delivery, Endpoint
from pipeline.core.retries.retry import DEFAULT_DELAYS_S, GiveUp, RetryAt

if TYPE_CHECKING:
    from pipeline.tracing import DescribeAttempt, Tracing


class Attempting:
    """Makes attempts."""

    def __init__(
        self,
        *,
        sender: Sender,
        learning: Learning,
        record_keeping: RecordKeeping,
        steps: Steps,
        tracing: "Tracing | None",
    ) -> None:
        self._sender = sender
        self._learning = learning
        self._record_keeping = record_keeping
        self._steps = steps
        self._tracing = tracing

    async def attempt(self, record: LogRecord, delivery: Delivery, target: Target, payload: Payload) -> Written:
        """Settled when the future is done. Raises whatever a step raises.

        `payload`: the delivery's, or the one that its claim check names.
        """
        if self._tracing is None:
            return await self._send(record, delivery, target, payload)
        with self._tracing.attempt(delivery, record.trace) as describe:
            return await self._send(record, delivery, target, payload, describe)

    async def _send(
        self,
        record: LogRecord,
        delivery: Delivery,
        target: Target,
        payload: Payload,
        describe_span: "DescribeAttempt | None" = None,
    ) -> Written:
        endpoint = target.endpoint
        sent = await self._sender.send(delivery, target, payload)
        verdict = self._steps.judge(sent.result, now_s=sent.finished_at_us / 1_000_000)
        decision = self._decide(delivery, endpoint, verdict, sent.finished_at_us) if verdict.error_class else None
        attempt = self._steps.describe(
            record,
            delivery,
            endpoint,
            outcome="succeeded" if verdict.error_class is None else "failed",
            verdict=verdict,
            started_at_us=sent.started_at_us,
            finished_at_us=sent.finished_at_us,
            request_headers=sent.headers,
            result=sent.result,
            next_due_at_us=decision.due_at_us if isinstance(decision, RetryAt) else None,
        )
        headers = None if describe_span is None else describe_span(attempt, target.origin)
        encoded = self._record_keeping.encode(record, delivery, attempt, decision, sent.finished_at_us, headers=headers)
        self._learning.learn(record, endpoint, sent, verdict)
        self._learning.count(delivery, sent, verdict)
        return await self._record_keeping.write(record, attempt, encoded)

    def _decide(self, delivery: Delivery, endpoint: Endpoint, verdict: Verdict, failed_at_us: int) -> RetryAt | GiveUp:
        return self._steps.decide(
            attempt_number=delivery.attempt_number - delivery.schedule_from + 1,
            error_class=verdict.error_class or "",
            failed_at_us=failed_at_us,
            retry_after_s=verdict.retry_after_s,
            delays_s=endpoint.retry_delays_s if endpoint.retry_delays_s is not None else DEFAULT_DELAYS_S,
            jitter=self._steps.draw_jitter(),
            # that the old place is gone, or refuses, does not end a delivery whose endpoint was moved meanwhile
            status=None if self._learning.is_replaced(endpoint) else verdict.status,
            gives_up_on_client_errors=endpoint.gives_up_on_client_errors,
        )
