"""The story of one delivery: endpoint known? → allowed now? → payload here? → one attempt (`attempting`)."""

from collections.abc import Callable

import structlog

from connectors.http.attempting import Attempting
from connectors.http.client.shortage import find_shortage
from connectors.http.endpoint_memory import EndpointMemory
from connectors.http.endpoint_source import EndpointSource
from connectors.http.failure import explain_error
from connectors.http.key_watch import KeyWatch
from connectors.http.outbox import Outbox, WriteError, Written
from connectors.http.parking import DeliveryParking
from connectors.http.payloads.payloads import PayloadAwayError, PayloadMissingError, Payloads, SpoolFullError
from connectors.http.record_keeping import RecordKeeping
from connectors.http.shortages import Shortages
from connectors.http.target import Target
from connectors.sink import LogRecord
from pipeline.clock import monotonic_us
from pipeline.core.events.claim_check import Payload, is_claim_check
from pipeline.core.events.records import Delivery, Endpoint
from pipeline.core.lanes.limiter import DestinationLimiter
from pipeline.core.retries.cancelling import is_cancelled
from pipeline.core.signing.sealing import UnsealError

ENDPOINT_WAIT_S = 2.0
SPOOL_WAIT_US = 1_000_000

log = structlog.get_logger()


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
        payloads: Payloads,
        parking: DeliveryParking,
        attempting: Attempting,
        record_keeping: RecordKeeping,
        outbox: Outbox,
        clock_us: Callable[[], int],
    ) -> None:
        self._endpoints = endpoints
        self._memory = memory
        self._destinations = destinations
        self._keys = keys
        self._shortages = shortages
        self._payloads = payloads
        self._parking = parking
        self._attempting = attempting
        self._record_keeping = record_keeping
        self._outbox = outbox
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
                wait_us = self._shortages.meet(shortage, delivery.application_id)
                return self._parking.park_for(record, wait_us, "local_shortage")
            return await self._write_error(record, delivery, error, started_at_us)

    async def _write_error(
        self, record: LogRecord, delivery: Delivery, error: Exception, started_at_us: int
    ) -> Written:
        endpoint = self._find_endpoint(delivery)
        try:
            return await self._record_keeping.write_error(
                record, delivery, endpoint, error, started_at_us=started_at_us, now_us=self._clock_us()
            )
        except WriteError:
            raise
        except Exception as unwritable:
            if find_shortage(unwritable) is not None:
                raise
            # it has values of which no attempt can be made: the record is kept, and the partition moves on
            return self._outbox.give_up(record, "internal", explain_error(unwritable), delivery)

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
        return await self._find_payload(record, delivery, target)

    async def _find_payload(self, record: LogRecord, delivery: Delivery, target: Target) -> Written:
        if not is_claim_check(delivery):
            return await self._attempt(record, delivery, target, delivery.payload)
        try:
            async with self._payloads.hold(delivery) as payload:
                return await self._attempt(record, delivery, target, payload)
        except SpoolFullError:
            return self._parking.park_for(record, SPOOL_WAIT_US, "spool_full")
        except PayloadAwayError as error:
            log.warning("payload_away", delivery_id=delivery.delivery_id, reason=str(error))
            return self._parking.park_for_endpoint(record, delivery, "payload_away")
        except PayloadMissingError as error:
            return self._outbox.give_up(record, error.reason, str(error), delivery)

    async def _attempt(self, record: LogRecord, delivery: Delivery, target: Target, payload: Payload) -> Written:
        if target.origin is None:
            return await self._attempting.attempt(record, delivery, target, payload)
        place, owner = (target.origin.host, target.origin.port), target.endpoint.application_id
        wait_us = self._destinations.try_start(place, owner, monotonic_us())
        if wait_us > 0:
            return self._parking.park_for(record, wait_us, "destination_busy")
        try:
            return await self._attempting.attempt(record, delivery, target, payload)
        finally:
            self._destinations.end(place, owner)

    def _find_endpoint(self, delivery: Delivery) -> Endpoint | None:
        try:
            return self._endpoints.get(delivery.subscription_id)
        except Exception:
            return None  # the exception at hand is the one that matters
