"""Updates from an outcome: the endpoint's gate and health, the metrics, and its published state."""

from connectors.http.endpoint_memory import EndpointMemory
from connectors.http.outbox import Outbox
from connectors.http.sending import Sent
from connectors.http.verdict import Verdict
from connectors.sink import LogRecord
from pipeline.clock import monotonic_us
from pipeline.core.events.records import Delivery, Endpoint
from pipeline.core.retries.retry import GONE_STATUS
from pipeline.metrics import Metrics


class Learning:
    """Learns from outcomes, and publishes how endpoints do."""

    def __init__(self, memory: EndpointMemory, outbox: Outbox, metrics: Metrics) -> None:
        self._memory = memory
        self._outbox = outbox
        self._metrics = metrics
        self._succeeded = metrics.attempts_total.labels("succeeded", "")

    def learn(self, record: LogRecord, endpoint: Endpoint, sent: Sent, verdict: Verdict) -> None:
        """Bring the endpoint's gate and health up to date, and publish what changed."""
        gate, ended_us = self._memory.gate(record.key), monotonic_us()
        begun_us = ended_us - (sent.finished_at_us - sent.started_at_us)
        if verdict.error_class is None:
            gate.succeed(ended_us, started_at_us=begun_us)
            self._memory.succeed(endpoint, sent.finished_at_us)
        else:
            gate.fail(
                ended_us,
                started_at_us=begun_us,
                is_overload=verdict.is_overload,
                is_fault=verdict.is_fault,
            )
            self._memory.fail(
                endpoint,
                sent.finished_at_us,
                error=f"{verdict.error_class}: {verdict.detail}",
                is_gone=verdict.status == GONE_STATUS,
                is_fault=verdict.is_fault,
            )
        if sent.result.certificate is not None:
            self._memory.see_certificate(endpoint, sent.result.certificate, sent.finished_at_us)
        self._publish(endpoint, sent.finished_at_us)

    def is_replaced(self, endpoint: Endpoint) -> bool:
        """Was the endpoint changed while its request was open?"""
        return self._memory.is_replaced(endpoint)

    def count(self, delivery: Delivery, sent: Sent, verdict: Verdict) -> None:
        """Set the metrics of attempts."""
        metrics = self._metrics
        if verdict.error_class is None:
            self._succeeded.inc()
        else:
            metrics.attempts_total.labels("failed", verdict.error_class).inc()
        metrics.webhook_delivery_duration_seconds.observe((sent.finished_at_us - sent.started_at_us) / 1_000_000)
        if delivery.attempt_number == 1 and not delivery.parked_times:
            metrics.first_attempt_seconds.observe(max(0, sent.started_at_us - delivery.received_at_us) / 1_000_000)
        if verdict.error_class is None and delivery.attempt_number == 1:
            metrics.delivery_seconds.observe(max(0, sent.finished_at_us - delivery.received_at_us) / 1_000_000)

    def publish_states(self, now_us: int) -> None:
        """Publish the states that changed too soon after the last time; to be called every few seconds."""
        for endpoint in self._memory.list_untold():
            self._publish(endpoint, now_us)
        self._memory.observe_egress()

    def _publish(self, endpoint: Endpoint, now_us: int) -> None:
        state = self._memory.tell(endpoint, now_us)
        if state is not None:
            self._outbox.publish_state(state)
