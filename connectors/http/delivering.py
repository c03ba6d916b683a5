"""The story of one delivery: endpoint known? → allowed now? → send → judge → decide → describe → write."""

from collections.abc import Callable

from connectors.http.client.shortage import find_shortage
from connectors.http.endpoint_memory import EndpointMemory
from connectors.http.endpoint_source import EndpointSource
from connectors.http.key_watch import KeyWatch
from connectors.http.learning import Learning
from connectors.http.outbox import Outbox, WriteError, Written
from connectors.http.parking import DeliveryParking
from connectors.http.record_keeping import RecordKeeping
from connectors.http.sending import Sender
from connectors.http.shortages import Shortages
from connectors.http.steps import Steps
from connectors.http.target import Target
from connectors.http.verdict import Verdict
from connectors.sink import LogRecord
from pipeline.clock import monotonic_us
from pipeline.core.events.records import Delivery, Endpoint
from pipeline.core.lanes.limiter import DestinationLimiter
from pipeline.core.retries.cancelling import is_cancelled
from pipeline.core.retries.retry import DEFAULT_DELAYS_S, GiveUp, RetryAt
from pipeline.core.signing.sealing import UnsealError

ENDPOINT_WAIT_S = 2.0


class Delivering:
    """Brings deliveries to their endpoints."""

    def __init__(
        self,
        *,
        endpoints: EndpointSource,
        memory: EndpointMemory,
        destinations: DestinationLimiter,
        keys: KeyWatch,
        shortages: Shortages,
        parking: DeliveryParking,
        sender: Sender,
        learning: Learning,
        record_keeping: RecordKeeping,
        outbox: Outbox,
        steps: Steps,
        clock_us: Callable[[], int],
    ) -> None:
        self._endpoints = endpoints
        self._memory = memory
        self._destinations = destinations
        self._keys = keys
        self._shortages = shortages
        self._parking = parking
        self._sender = sender
        self._learning = learning
        self._record_keeping = record_keeping
        self._outbox = outbox
        self._steps = steps
        self._clock_us = clock_us

    async def deliver(self, record: LogRecord, delivery: Delivery) -> Written:
        """Settled when the future is done. Raises `WriteError`; any other exception becomes a failed attempt."""
        started_at_us = self._clock_us()
        try:
            return await self._deliver(record, delivery)
        except WriteError:
            raise
        except Exception as error:
            shortage = find_shortage(error)
            if shortage is not None:
                return self._parking.park_for(record, self._shortages.meet(shortage), "local_shortage")
            endpoint = self._find_endpoint(delivery)
            return await self._record_keeping.write_error(
                record, delivery, endpoint, error, started_at_us=started_at_us, now_us=self._clock_us()
            )

    async def _deliver(self, record: LogRecord, delivery: Delivery) -> Written:
        # the outcome must be written down, or the next process sends the delivery again
        await self._outbox.wait_open()
        endpoint = self._endpoints.get(delivery.subscription_id) or await self._endpoints.wait_for(
            delivery.subscription_id, ENDPOINT_WAIT_S
        )
        if endpoint is None:
            return self._parking.park_for_endpoint(record, delivery, "endpoint_unknown")
        if is_cancelled(delivery, endpoint):
            return self._record_keeping.write_cancelled(record, delivery, endpoint, self._clock_us())
        if not endpoint.enabled and not delivery.is_forced:
            now_us = self._clock_us()
            if now_us < endpoint.held_until_us:
                # disabled by Hookline: its owner may enable it again
                return self._parking.park_for_endpoint(record, delivery, "held")
            return self._record_keeping.write_cancelled(record, delivery, endpoint, now_us)
        try:
            target = self._memory.compile(endpoint)
        except UnsealError as error:
            return self._parking.park_for(record, self._keys.wait_us(error.key_id), "key_missing")
        if self._memory.is_to_be_disabled(endpoint) and not delivery.is_forced:
            return self._parking.park_for_endpoint(record, delivery, "to_be_disabled")
        if target.origin is None:
            return await self._attempt(record, delivery, target)
        place = (target.origin.host, target.origin.port)
        wait_us = self._destinations.try_start(place, monotonic_us())
        if wait_us > 0:
            return self._parking.park_for(record, wait_us, "destination_busy")
        try:
            return await self._attempt(record, delivery, target)
        finally:
            self._destinations.end(place)

    async def _attempt(self, record: LogRecord, delivery: Delivery, target: Target) -> Written:
        endpoint = target.endpoint
        sent = await self._sender.send(delivery, target)
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
        encoded = self._record_keeping.encode(record, delivery, attempt, decision, sent.finished_at_us)
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
            status=verdict.status,
            gives_up_on_client_errors=endpoint.gives_up_on_client_errors,
        )

    def _find_endpoint(self, delivery: Delivery) -> Endpoint | None:
        try:
            return self._endpoints.get(delivery.subscription_id)
        except Exception:
            return None  # the exception at hand is the one that matters
