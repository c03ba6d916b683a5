"""The http sink: one delivery becomes one attempt; a failed one becomes a retry or a dead letter first.

The story of a delivery: read → seen before? → endpoint known? → allowed now? → send → judge → decide → describe →
write. The order of writing keeps deliveries from being lost: the retry (or dead letter) is acknowledged, then the
attempt is written, then the source record is settled. A crash in between repeats work under the same ids. Everything
is encoded before anything is written, so that no delivery gets two successors.

An exception of one delivery that no code foresaw becomes a failed attempt (`failure`). Only a log that takes no records
(`WriteError`) ends the process.
"""

import random
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Protocol

import msgspec
import structlog

from connectors.http.attempt import describe_attempt
from connectors.http.endpoint_memory import EndpointMemory
from connectors.http.exchange import ErrorClass, Failure, Request, Result
from connectors.http.failure import decide_after_error, describe_error, judge_error
from connectors.http.key_watch import KeyWatch
from connectors.http.ledger import Ledger
from connectors.http.message import HeaderError, Signing
from connectors.http.outbox import Outbox, WriteError, Written
from connectors.http.shortage import ShortageError, Shortages, find_shortage
from connectors.http.steps import Steps
from connectors.http.target import Target
from connectors.http.verdict import Verdict
from connectors.sink import IsSettled, LogRecord, Place
from pipeline.config import Settings
from pipeline.core.cancelling import is_cancelled
from pipeline.core.checksum import is_corrupt
from pipeline.core.gate import EndpointGate
from pipeline.core.hops import derive_hop
from pipeline.core.ids import derive_attempt_id
from pipeline.core.lanes import Jam, Rank
from pipeline.core.limiter import DestinationLimiter
from pipeline.core.ranges import CommitNote
from pipeline.core.records import Delivery, Endpoint
from pipeline.core.retry import DEFAULT_DELAYS_S, GONE_STATUS, GiveUp, RetryAt
from pipeline.core.sealing import UnsealError
from pipeline.core.tiers import choose_tier
from pipeline.kafka.log_clock import monotonic_us, wall_us
from pipeline.kafka.producer import ToSend
from pipeline.kill_points import KillPoints
from pipeline.metrics import Metrics
from pipeline.topics import Topics

ENDPOINT_WAIT_S = 2.0
PARKED_WITHOUT_ENDPOINT_MAX = 60
PARK_MIN_US, PARK_MAX_US = 1_000_000, 600_000_000
STEPS = Steps()

log = structlog.get_logger()


class Endpoints(Protocol):
    """Where endpoints are found: a view of the endpoints topic."""

    def get(self, subscription_id: str) -> Endpoint | None: ...

    async def wait_for(self, subscription_id: str, timeout_s: float) -> Endpoint | None: ...


class Client(Protocol):
    """Sends requests."""

    async def send(self, request: Request) -> Result: ...


class HttpSink:
    """Sends deliveries. Satisfies `connectors.sink.Sink`."""

    def __init__(
        self,
        settings: Settings,
        topics: Topics,
        *,
        endpoints: Endpoints,
        memory: EndpointMemory,
        client: Client,
        ledger: Ledger,
        outbox: Outbox,
        keys: KeyWatch,
        shortages: Shortages,
        metrics: Metrics,
        steps: Steps = STEPS,
        clock_us: Callable[[], int] = wall_us,
    ) -> None:
        self._clock_us = clock_us
        self._endpoints = endpoints
        self._memory = memory
        self._client = client
        self._ledger = ledger
        self._outbox = outbox
        self._keys = keys
        self._shortages = shortages
        self._metrics = metrics
        self._steps = steps
        self._kill_points = KillPoints(settings.process.kill_at)
        deliver = settings.deliver
        self._destinations = DestinationLimiter(
            rate_per_s=deliver.destination_rate_per_s, open_max=deliver.destination_connections_max
        )
        self._signing = Signing(
            header=deliver.signature_header,
            versions=deliver.signature_versions,
            has_asymmetric=deliver.sign_asymmetrically,
            hop=derive_hop(deliver.hop_name),
        )
        self._lead = topics.deliveries.name
        self._endpoints_topic = topics.endpoints.name
        self._tier_numbers = {tier.name: number for number, tier in enumerate(topics.retries)}
        self._due_of: tuple[LogRecord | None, int] = (None, 0)
        self._open = 0

    # Sink.

    def lane(self, record: LogRecord) -> Hashable:
        return record.key

    def owner(self, lane: Hashable) -> Hashable:
        # by its endpoint, so that no record is decoded for it; one that is not published yet is on its own
        endpoint = self._endpoints.get(lane.decode(errors="replace")) if isinstance(lane, bytes) else None
        return lane if endpoint is None else endpoint.application_id

    def gate(self, lane: Hashable) -> EndpointGate:
        return self._memory.gate(lane)

    def rank(self, record: LogRecord) -> Rank:
        if record.topic == self._lead:
            return Rank.FRESH
        return Rank.PARKED if self._find_due(record) <= record.timestamp_us else Rank.RETRY

    def due_at_us(self, record: LogRecord) -> int:
        if self.rank(record) is not Rank.PARKED:
            return self._find_due(record)
        # it was due when it was put away, and is back
        gate, tier = self.gate(record.key), self._tier_numbers[record.topic]
        gate.parked[tier] = max(0, gate.parked[tier] - 1)
        return 0

    def put_away(self, record: LogRecord, jam: Jam, now_us: int) -> Written:
        wait_us = self._find_due(record) - now_us
        if wait_us > 0:
            return self._outbox.put_in_tier(record, choose_tier(self._outbox.delays_s, wait_us))
        gate = self.gate(record.key)
        reason = "breaker" if gate.opened_until_us else "lane_full"
        waited_in = self._tier_numbers.get(record.topic) if self.rank(record) is Rank.PARKED else None
        tier = gate.choose_tier(jam, monotonic_us(), self._outbox.delays_s, waited_in=waited_in)
        return self._park(record, tier, reason)

    async def assigned(self, notes: Mapping[Place, CommitNote | None]) -> Mapping[Place, int]:
        await self._ledger.assigned(notes)
        return {}

    def note_vacant(self, place: Place, begin: int, end: int) -> None:
        pass  # what is done is remembered by offsets; those without a record are never asked for

    def reached(self, place: Place, offset: int) -> None:
        """Nobody asks this sink for a position."""

    def set_back(self, place: Place, position: int) -> None:
        pass  # ids tell a repeat from news

    def attempts_seen(self, place: Place, is_settled: IsSettled) -> int | None:
        return self._ledger.attempts_seen(place, is_settled)

    async def revoked(self, places: Sequence[Place]) -> None:
        self._memory.forget_parked()
        self._ledger.revoked(places)

    async def put(self, records: Sequence[LogRecord]) -> Written | None:
        (record,) = records
        try:
            delivery = self._steps.read(record)
            is_altered = isinstance(delivery, Delivery) and is_corrupt(delivery)
        except Exception as error:
            log.exception("record_failed", topic=record.topic, partition=record.partition, offset=record.offset)
            return self._outbox.bury(record, "internal", judge_error(error).detail or "")
        if not isinstance(delivery, Delivery):
            return self._outbox.bury(record, "undecodable", str(delivery))
        if is_altered:
            detail = "its content does not have the checksum that it says: it was altered after it was accepted"
            return self._outbox.bury(record, "corrupt", detail, delivery)
        attempt_id = derive_attempt_id(delivery.delivery_id, delivery.attempt_number)
        if self._ledger.has(attempt_id):
            self._metrics.repeats_skipped_total.inc()
            return None
        under_way = self._ledger.find_under_way(attempt_id)
        if under_way is not None:
            # a second copy (matched again, or parked when its process died): the same attempt settles both
            self._metrics.repeats_skipped_total.inc()
            return under_way
        self._ledger.begin(attempt_id)
        try:
            written = await self._deliver_or_fail(record, delivery)
        except BaseException:
            self._ledger.abandon(attempt_id)
            raise
        self._ledger.follow(attempt_id, written)
        return written

    # The way of a delivery.

    async def _deliver_or_fail(self, record: LogRecord, delivery: Delivery) -> Written:
        started_at_us = self._clock_us()
        try:
            return await self._deliver(record, delivery)
        except WriteError:
            raise
        except Exception as error:
            shortage = find_shortage(error)
            if shortage is not None:
                return self._wait(record, self._shortages.meet(shortage), "local_shortage")
            return await self._fail(record, delivery, error, started_at_us)

    async def _deliver(self, record: LogRecord, delivery: Delivery) -> Written:
        # what it comes to must be written down, or the next process sends it again
        await self._outbox.wait_open()
        endpoint = self._endpoints.get(delivery.subscription_id) or await self._endpoints.wait_for(
            delivery.subscription_id, ENDPOINT_WAIT_S
        )
        if endpoint is None:
            return self._put_off(record, delivery, "endpoint_unknown")
        if is_cancelled(delivery, endpoint):
            return self._cancel(record, delivery, endpoint)
        if not endpoint.enabled and not delivery.is_forced:
            if self._clock_us() < endpoint.held_until_us:
                return self._put_off(record, delivery, "held")  # disabled by Hookline: its owner may enable it again
            return self._cancel(record, delivery, endpoint)
        try:
            target = self._memory.compile(endpoint)
        except UnsealError as error:
            return self._wait(record, self._keys.wait_us(error.key_id), "key_missing")
        if self._memory.is_to_be_disabled(endpoint) and not delivery.is_forced:
            return self._put_off(record, delivery, "to_be_disabled")
        if target.origin is None:
            return await self._attempt(record, delivery, target)
        place = (target.origin.host, target.origin.port)
        wait_us = self._destinations.may_send(place, monotonic_us())
        if wait_us > 0:
            return self._park(record, choose_tier(self._outbox.delays_s, wait_us), "destination_busy")
        try:
            return await self._attempt(record, delivery, target)
        finally:
            self._destinations.end(place)

    async def _attempt(self, record: LogRecord, delivery: Delivery, target: Target) -> Written:
        endpoint = target.endpoint
        started_at_us, begun_us = self._clock_us(), monotonic_us()
        self._kill_points.reach("before_sending")
        self._open += 1
        self._metrics.requests_open.set(self._open)
        try:
            result, headers = await self._send(delivery, target, started_at_us)
        finally:
            self._open -= 1
        if isinstance(result, Failure) and result.error_class is ErrorClass.LOCAL:
            raise ShortageError(result.detail)
        self._kill_points.reach("after_sending")
        finished_at_us = started_at_us + monotonic_us() - begun_us
        verdict = self._steps.judge(result, now_s=finished_at_us / 1_000_000)
        decision = self._decide(delivery, endpoint, verdict, finished_at_us) if verdict.error_class else None
        attempt = self._steps.describe(
            record,
            delivery,
            endpoint,
            outcome="succeeded" if verdict.error_class is None else "failed",
            verdict=verdict,
            started_at_us=started_at_us,
            finished_at_us=finished_at_us,
            request_headers=headers,
            result=result,
            next_due_at_us=decision.due_at_us if isinstance(decision, RetryAt) else None,
        )
        encoded = self._outbox.encode_attempt(attempt)
        successor = self._encode_successor(record, delivery, decision, finished_at_us)
        self._note(record, endpoint, result, verdict, started_at_us, finished_at_us)
        self._observe(delivery, verdict, started_at_us, finished_at_us)
        return await self._write(record, attempt.attempt_id, encoded, successor)

    async def _send(self, delivery: Delivery, target: Target, now_us: int) -> tuple[Result, dict[str, str]]:
        if target.problem is not None:
            return Failure(error_class=ErrorClass.INVALID_TARGET, detail=target.problem), {}
        try:
            request, headers = self._steps.build(delivery, target, self._signing, signed_at_us=now_us)
        except HeaderError as error:
            return Failure(error_class=ErrorClass.INVALID_HEADER, detail=str(error)), {}
        return await self._client.send(request), headers

    def _decide(self, delivery: Delivery, endpoint: Endpoint, verdict: Verdict, failed_at_us: int) -> RetryAt | GiveUp:
        return self._steps.decide(
            attempt_number=delivery.attempt_number - delivery.schedule_from + 1,
            error_class=verdict.error_class or "",
            failed_at_us=failed_at_us,
            retry_after_s=verdict.retry_after_s,
            delays_s=endpoint.retry_delays_s if endpoint.retry_delays_s is not None else DEFAULT_DELAYS_S,
            jitter=random.random(),  # noqa: S311 - spreads load, guards nothing
            status=verdict.status,
            gives_up_on_client_errors=endpoint.gives_up_on_client_errors,
        )

    def _note(
        self,
        record: LogRecord,
        endpoint: Endpoint,
        result: Result,
        verdict: Verdict,
        started_at_us: int,
        finished_at_us: int,
    ) -> None:
        """Learn from an outcome how the endpoint is doing, and tell it."""
        gate, ended_us = self.gate(record.key), monotonic_us()
        begun_us = ended_us - (finished_at_us - started_at_us)
        if verdict.error_class is None:
            gate.succeed(ended_us, started_at_us=begun_us)
            self._memory.succeed(endpoint, finished_at_us)
        else:
            gate.fail(
                ended_us,
                started_at_us=begun_us,
                is_overload=verdict.is_overload,
                is_fault=verdict.is_fault,
            )
            self._memory.fail(
                endpoint,
                finished_at_us,
                error=f"{verdict.error_class}: {verdict.detail}",
                is_gone=verdict.status == GONE_STATUS,
                is_fault=verdict.is_fault,
            )
        if result.certificate is not None:
            self._memory.see_certificate(endpoint, result.certificate, finished_at_us)
        self._tell(endpoint, finished_at_us)

    # Other ends than an answer.

    async def _fail(self, record: LogRecord, delivery: Delivery, error: Exception, started_at_us: int) -> Written:
        """An exception that no code foresaw. Uses as little as possible of what may have raised it."""
        log.error(
            "delivery_failed_internally",
            delivery_id=delivery.delivery_id,
            attempt_number=delivery.attempt_number,
            exc_info=error,
        )
        try:
            endpoint = self._endpoints.get(delivery.subscription_id)
        except Exception:
            endpoint = None  # the exception at hand is the one that matters
        now_us = self._clock_us()
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
        encoded = self._outbox.encode_attempt(attempt)
        successor = self._encode_successor(record, delivery, decision, now_us)
        self._metrics.attempts_total.labels("failed", ErrorClass.INTERNAL).inc()
        self._metrics.internal_errors_total.inc()
        return await self._write(record, attempt.attempt_id, encoded, successor)

    def _cancel(self, record: LogRecord, delivery: Delivery, endpoint: Endpoint) -> Written:
        now_us = self._clock_us()
        detail = "the subscription was deleted" if endpoint.deleted else "the subscription was disabled"
        verdict = Verdict(error_class=None, detail=detail, is_overload=False, is_fault=False)
        attempt = describe_attempt(
            record,
            delivery,
            endpoint,
            outcome="cancelled",
            verdict=verdict,
            started_at_us=now_us,
            finished_at_us=now_us,
        )
        encoded = self._outbox.encode_attempt(attempt)
        self._metrics.attempts_total.labels("cancelled", "").inc()
        return self._write_attempt(record, attempt.attempt_id, encoded)

    def _park(self, record: LogRecord, number: int, reason: str) -> Written:
        """Wait for capacity, which counts no attempt."""
        self.gate(record.key).parked[number] += 1
        return self._outbox.park(record, number, reason)

    def _wait(self, record: LogRecord, wait_us: int, reason: str) -> Written:
        """Wait for what this process lacks: the endpoint has no part in it, and no attempt is counted."""
        return self._park(record, choose_tier(self._outbox.delays_s, wait_us), reason)

    def _put_off(self, record: LogRecord, delivery: Delivery, reason: str) -> Written:
        """Wait for the control plane, longer each time.

        For an endpoint that is not published yet, for one that is to be disabled, or for an owner to enable it again.
        """
        if reason == "endpoint_unknown" and delivery.parked_times >= PARKED_WITHOUT_ENDPOINT_MAX:
            detail = f"the endpoint of subscription {delivery.subscription_id} is not in {self._endpoints_topic}"
            return self._outbox.bury(record, reason, detail, delivery)
        again = msgspec.structs.replace(delivery, parked_times=delivery.parked_times + 1)
        wait_us = PARK_MIN_US
        if reason != "endpoint_unknown":
            wait_us = min(PARK_MIN_US * 2 ** min(delivery.parked_times, 10), PARK_MAX_US)
        encoded = self._outbox.encode_retry(again, wait_us)
        self._metrics.parked_total.labels(reason).inc()
        return self._outbox.write(encoded)

    # Writing.

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
                return self._outbox.encode_retry(retry, due_at_us - now_us)
            case GiveUp(reason=reason, detail=detail):
                return self._outbox.encode_dead(record, reason, detail, delivery)
            case None:
                return None

    async def _write(self, record: LogRecord, attempt_id: str, encoded: ToSend, successor: ToSend | None) -> Written:
        if successor is not None:
            await self._outbox.write_and_wait(successor)
            self._kill_points.reach("after_successor")
        return self._write_attempt(record, attempt_id, encoded)

    def _write_attempt(self, record: LogRecord, attempt_id: str, encoded: ToSend) -> Written:
        written = self._outbox.write(encoded)
        written.add_done_callback(lambda _: self._kill_points.reach("after_recording"))
        self._ledger.add(attempt_id, record.partition, written)
        return written

    # Telling how endpoints do.

    def tell_states(self) -> None:
        """Tell what was held back; to be called every few seconds."""
        now_us = self._clock_us()
        for endpoint in self._memory.list_untold():
            self._tell(endpoint, now_us)
        self._memory.observe_egress()

    def _tell(self, endpoint: Endpoint, now_us: int) -> None:
        state = self._memory.tell(endpoint, now_us)
        if state is not None:
            self._outbox.tell(state)

    def _observe(self, delivery: Delivery, verdict: Verdict, started_at_us: int, finished_at_us: int) -> None:
        metrics = self._metrics
        outcome = "succeeded" if verdict.error_class is None else "failed"
        metrics.attempts_total.labels(outcome, verdict.error_class or "").inc()
        metrics.webhook_delivery_duration_seconds.observe((finished_at_us - started_at_us) / 1_000_000)
        if delivery.attempt_number == 1 and not delivery.parked_times:
            metrics.first_attempt_seconds.observe(max(0, started_at_us - delivery.received_at_us) / 1_000_000)
        if verdict.error_class is None and delivery.attempt_number == 1:
            metrics.delivery_seconds.observe(max(0, finished_at_us - delivery.received_at_us) / 1_000_000)

    def _find_due(self, record: LogRecord) -> int:
        if record.topic == self._lead:
            return 0
        if record is not self._due_of[0]:  # asked for up to three times, one record after another
            self._due_of = (record, self._read_due(record))
        return self._due_of[1]

    def _read_due(self, record: LogRecord) -> int:
        try:
            delivery = self._steps.read(record)
        except Exception:
            return 0  # `put` meets it again, and buries the record
        return delivery.due_at_us if isinstance(delivery, Delivery) else 0
