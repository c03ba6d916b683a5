"""The http sink: one delivery becomes one attempt; a failed one becomes a retry or a dead letter first.

The order is what keeps deliveries from being lost: the retry (or dead letter) is acknowledged, then the attempt is
written, then the source record is settled. A crash in between repeats work under the same ids.
"""

import asyncio
import random
import time
from collections.abc import Hashable, Mapping, Sequence

import msgspec
import structlog

from connectors.http.attempts_tail import AttemptsTail
from connectors.http.client import HttpClient
from connectors.http.endpoint_memory import EndpointMemory
from connectors.http.exchange import Answer, ErrorClass, Failure, Result
from connectors.http.message import HeaderError, Signing, build_request
from connectors.http.target import Target
from connectors.http.verdict import Verdict, judge
from connectors.sink import IsSettled, LogRecord, Place
from pipeline.config import Settings
from pipeline.core.checksum import is_corrupt
from pipeline.core.gate import EndpointGate
from pipeline.core.hops import derive_hop
from pipeline.core.ids import derive_attempt_id, derive_dead_id
from pipeline.core.lanes import Jam, Rank
from pipeline.core.limiter import DestinationLimiter
from pipeline.core.ranges import CommitNote
from pipeline.core.recent import RecentIds
from pipeline.core.records import Attempt, DeadLetter, Delivery, Endpoint, expect
from pipeline.core.retry import DEFAULT_DELAYS_S, GONE_STATUS, GiveUp, RetryAt, decide_retry
from pipeline.core.tiers import choose_tier
from pipeline.kafka.endpoints_view import EndpointsView
from pipeline.kafka.producer import LogProducer, Placement
from pipeline.kafka.tail import read_tail
from pipeline.kill_points import KillPoints
from pipeline.metrics import Metrics
from pipeline.topics import Topics
from schemas import SchemaError

ENDPOINT_WAIT_S = 2.0
PARKED_WITHOUT_ENDPOINT_MAX = 60
PARK_MIN_US = 1_000_000
TAIL_MAX_RECORDS = 50_000

log = structlog.get_logger()


class HttpSink:
    """Sends deliveries. Satisfies `connectors.sink.Sink`."""

    def __init__(
        self,
        settings: Settings,
        topics: Topics,
        *,
        endpoints: EndpointsView,
        memory: EndpointMemory,
        client: HttpClient,
        producer: LogProducer,
        metrics: Metrics,
    ) -> None:
        self._kafka = settings.kafka
        self._topics = topics
        self._endpoints = endpoints
        self._memory = memory
        self._client = client
        self._producer = producer
        self._metrics = metrics
        self._kill_points = KillPoints(settings.process.kill_at)
        self._destinations = DestinationLimiter(
            rate_per_s=settings.deliver.destination_rate_per_s, open_max=settings.deliver.destination_connections_max
        )
        deliver, worker = settings.deliver, settings.worker
        self._signing = Signing(
            header=deliver.signature_header, versions=deliver.signature_versions, hop=derive_hop(deliver.hop_name)
        )
        self._lead = topics.deliveries.name
        self._delays_s = [tier.delay_s for tier in topics.retries]
        self._tier_numbers = {tier.name: number for number, tier in enumerate(topics.retries)}
        self._made = RecentIds(worker.recent_ids_max)  # attempts that are in the log
        self._under_way: dict[str, asyncio.Future[Placement]] = {}  # attempts that are being made
        self._tails: dict[int, AttemptsTail] = {}  # by partition
        self._due_of: tuple[LogRecord | None, int] = (None, 0)
        self._open = 0

    # Sink.

    def lane(self, record: LogRecord) -> Hashable:
        return record.key

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

    def put_away(self, record: LogRecord, jam: Jam, now_us: int) -> "asyncio.Future[Placement]":
        wait_us = self._find_due(record) - now_us
        if wait_us > 0:
            return self._put_in_tier(record, choose_tier(self._delays_s, wait_us))
        gate = self.gate(record.key)
        reason = "breaker" if gate.opened_until_us else "lane_full"
        return self._park(record, gate.choose_tier(jam, now_us, self._delays_s), reason)

    def _park(self, record: LogRecord, number: int, reason: str) -> "asyncio.Future[Placement]":
        """Wait for capacity, which counts no attempt."""
        self.gate(record.key).parked[number] += 1
        self._metrics.parked_total.labels(reason).inc()
        return self._put_in_tier(record, number)

    def _put_in_tier(self, record: LogRecord, number: int) -> "asyncio.Future[Placement]":
        # As the bytes they are: parking must be much quicker than delivering, or one endpoint's backlog would hold up
        # what lies behind it in the log (6 µs; decoded and encoded again 20).
        tier = self._topics.retries[number]
        self._metrics.retries_scheduled_total.labels(tier.name).inc()
        return self._producer.send_bytes([(tier, record.key or b"", record.value)])

    async def put(self, records: Sequence[LogRecord]) -> "asyncio.Future[Placement] | None":
        (record,) = records
        delivery = _read(record)
        if not isinstance(delivery, Delivery):
            return self._bury(record, "undecodable", str(delivery))
        if is_corrupt(delivery):
            detail = "its content does not have the checksum that it says: it was altered after it was accepted"
            return self._bury(record, "corrupt", detail, delivery)
        attempt_id = derive_attempt_id(delivery.delivery_id, delivery.attempt_number)
        if attempt_id in self._made:
            self._metrics.repeats_skipped_total.inc()
            return None
        under_way = self._under_way.get(attempt_id)
        if under_way is not None:
            # a second copy (matched again, or parked when its process died): the same attempt settles both
            self._metrics.repeats_skipped_total.inc()
            return under_way
        endpoint = self._endpoints.get(delivery.subscription_id) or await self._endpoints.wait_for(
            delivery.subscription_id, ENDPOINT_WAIT_S
        )
        if endpoint is None:
            return self._put_off(record, delivery, "endpoint_unknown")
        if not endpoint.enabled or endpoint.deleted or delivery.appended_at_us < endpoint.cancel_before_us:
            return self._cancel(record, delivery, attempt_id, endpoint)
        target = self._memory.compile(endpoint)
        if self._memory.is_to_be_disabled(endpoint):
            return self._put_off(record, delivery, "to_be_disabled")
        if target.origin is None:
            return await self._deliver_once(record, delivery, attempt_id, target)
        place = (target.origin.host, target.origin.port)
        wait_us = self._destinations.may_send(place, time.time_ns() // 1000)
        if wait_us > 0:
            return self._park(record, choose_tier(self._delays_s, wait_us), "destination_busy")
        try:
            return await self._deliver_once(record, delivery, attempt_id, target)
        finally:
            self._destinations.end(place)

    async def assigned(self, notes: Mapping[Place, CommitNote | None]) -> Mapping[Place, int]:
        starts = {
            partition: (note.attempts_offset or 0) if note is not None else 0
            for (topic, partition), note in notes.items()
            if topic == self._lead
        }
        records, ends = await asyncio.to_thread(
            read_tail, self._kafka, self._topics.attempts, starts, records_max=TAIL_MAX_RECORDS
        )
        tails = {partition: AttemptsTail(start, end=ends[partition]) for partition, start in starts.items()}
        for record in records:
            try:
                attempt = expect(Attempt, record.value or b"")
            except SchemaError as error:
                log.error("attempt_unreadable", partition=record.partition, offset=record.offset, reason=str(error))
                continue
            self._made.add(attempt.attempt_id)
            tails[record.partition].add((attempt.source_topic, attempt.source_partition), attempt.source_offset)
        self._tails |= tails
        log.info("attempts_read", partitions=len(ends), attempts=len(records))
        return {}

    def note_vacant(self, place: Place, begin: int, end: int) -> None:
        pass  # what is done is remembered by offsets; those without a record are never asked for

    def attempts_seen(self, place: Place, is_settled: IsSettled) -> int | None:
        topic, partition = place
        tail = self._tails.get(partition) if topic == self._lead else None
        return None if tail is None else tail.find_seen(is_settled)

    async def revoked(self, places: Sequence[Place]) -> None:
        self._memory.forget_parked()
        for topic, partition in places:
            if topic == self._lead:
                self._tails.pop(partition, None)

    def _find_due(self, record: LogRecord) -> int:
        if record.topic == self._lead:
            return 0
        if record is not self._due_of[0]:  # asked for up to three times, one record after another
            delivery = _read(record)
            # `put` buries what cannot be read
            self._due_of = (record, delivery.due_at_us if isinstance(delivery, Delivery) else 0)
        return self._due_of[1]

    # One attempt.

    async def _deliver_once(
        self, record: LogRecord, delivery: Delivery, attempt_id: str, target: Target
    ) -> "asyncio.Future[Placement]":
        """Deliver, and let copies that come meanwhile share what becomes of it."""
        under_way = self._under_way.get(attempt_id)
        if under_way is not None:  # it began while we waited for the endpoint
            return under_way
        shared: asyncio.Future[Placement] = asyncio.get_running_loop().create_future()
        self._under_way[attempt_id] = shared
        try:
            written = await self._deliver(record, delivery, attempt_id, target)
        except BaseException:
            self._under_way.pop(attempt_id, None)
            shared.cancel()
            raise

        def on_done(done: "asyncio.Future[Placement]") -> None:
            self._under_way.pop(attempt_id, None)
            if done.cancelled() or done.exception() is not None:
                shared.cancel()  # the failure itself ends the process
            elif not shared.done():
                shared.set_result(done.result())

        written.add_done_callback(on_done)
        return written

    async def _deliver(
        self, record: LogRecord, delivery: Delivery, attempt_id: str, target: Target
    ) -> "asyncio.Future[Placement]":
        gate = self.gate(record.key)
        started_at_us = time.time_ns() // 1000
        self._kill_points.reach("before_sending")
        self._open += 1
        self._metrics.requests_open.set(self._open)
        try:
            result, headers = await self._send(delivery, target, started_at_us)
        finally:
            self._open -= 1
        self._kill_points.reach("after_sending")
        finished_at_us = max(time.time_ns() // 1000, started_at_us)
        verdict = judge(result, now_s=finished_at_us / 1_000_000)
        self._observe(delivery, verdict, started_at_us, finished_at_us)
        due_at_us: int | None = None
        if verdict.error_class is None:
            gate.succeed(finished_at_us, started_at_us=started_at_us)
            self._memory.succeed(target.endpoint, finished_at_us)
        else:
            gate.fail(
                finished_at_us,
                started_at_us=started_at_us,
                is_overload=verdict.is_overload,
                is_fault=verdict.is_fault,
            )
            self._memory.fail(
                target.endpoint,
                finished_at_us,
                error=f"{verdict.error_class}: {verdict.detail}",
                is_gone=verdict.status == GONE_STATUS,
                is_fault=verdict.is_fault,
            )
            due_at_us = await self._settle_failure(record, delivery, target.endpoint, verdict, finished_at_us)
        if result.certificate is not None:
            self._memory.see_certificate(target.endpoint, result.certificate, finished_at_us)
        self._tell(target.endpoint, finished_at_us)
        attempt = self._describe(
            record,
            delivery,
            attempt_id,
            endpoint=target.endpoint,
            outcome="succeeded" if verdict.error_class is None else "failed",
            verdict=verdict,
            started_at_us=started_at_us,
            finished_at_us=finished_at_us,
            request_headers=headers,
            result=result,
            next_due_at_us=due_at_us,
        )
        return self._write(record, attempt)

    async def _send(self, delivery: Delivery, target: Target, now_us: int) -> tuple[Result, dict[str, str]]:
        if target.problem is not None:
            return Failure(error_class=ErrorClass.INVALID_TARGET, detail=target.problem), {}
        try:
            request, headers = build_request(delivery, target, self._signing, signed_at_us=now_us)
        except HeaderError as error:
            return Failure(error_class=ErrorClass.INVALID_HEADER, detail=str(error)), {}
        return await self._client.send(request), headers

    async def _settle_failure(
        self, record: LogRecord, delivery: Delivery, endpoint: Endpoint, verdict: Verdict, failed_at_us: int
    ) -> int | None:
        """Write what comes next and wait for its acknowledgement; when the next attempt is due, None for never."""
        decision = decide_retry(
            attempt_number=delivery.attempt_number - delivery.schedule_from + 1,
            error_class=verdict.error_class or "",
            failed_at_us=failed_at_us,
            retry_after_s=verdict.retry_after_s,
            delays_s=endpoint.retry_delays_s if endpoint.retry_delays_s is not None else DEFAULT_DELAYS_S,
            jitter=random.random(),  # noqa: S311 - spreads load, guards nothing
            status=verdict.status,
            gives_up_on_client_errors=endpoint.gives_up_on_client_errors,
        )
        match decision:
            case RetryAt(due_at_us=due_at_us):
                retry = msgspec.structs.replace(
                    delivery, attempt_number=delivery.attempt_number + 1, due_at_us=due_at_us, parked_times=0
                )
                await self._keep(retry, due_at_us - failed_at_us)
                return due_at_us
            case GiveUp(reason=reason, detail=detail):
                await self._bury(record, reason, detail, delivery)
                return None

    def _cancel(
        self, record: LogRecord, delivery: Delivery, attempt_id: str, endpoint: Endpoint
    ) -> "asyncio.Future[Placement]":
        now_us = time.time_ns() // 1000
        detail = "the subscription was deleted" if endpoint.deleted else "the subscription was disabled"
        verdict = Verdict(error_class=None, detail=detail, is_overload=False, is_fault=False)
        self._metrics.attempts_total.labels("cancelled", "").inc()
        attempt = self._describe(
            record,
            delivery,
            attempt_id,
            endpoint=endpoint,
            outcome="cancelled",
            verdict=verdict,
            started_at_us=now_us,
            finished_at_us=now_us,
            request_headers={},
            result=None,
            next_due_at_us=None,
        )
        return self._write(record, attempt)

    def _describe(
        self,
        record: LogRecord,
        delivery: Delivery,
        attempt_id: str,
        *,
        endpoint: Endpoint,
        outcome: str,
        verdict: Verdict,
        started_at_us: int,
        finished_at_us: int,
        request_headers: dict[str, str],
        result: Result | None,
        next_due_at_us: int | None,
    ) -> Attempt:
        answer = result if isinstance(result, Answer) else None
        return Attempt(
            attempt_id=attempt_id,
            attempt_number=delivery.attempt_number,
            delivery_id=delivery.delivery_id,
            subscription_id=delivery.subscription_id,
            application_id=delivery.application_id,
            event_id=delivery.event_id,
            event_type=delivery.event_type,
            appended_at_us=delivery.appended_at_us,
            outcome=outcome,
            error_class=verdict.error_class,
            error_detail=verdict.detail,
            queued_at_us=record.timestamp_us,
            started_at_us=started_at_us,
            finished_at_us=finished_at_us,
            request_method=endpoint.method,
            request_url=endpoint.url,
            request_headers=request_headers,
            response_status=answer.status if answer is not None else None,
            response_headers=answer.headers if answer is not None else {},
            response_body=answer.body if answer is not None else b"",
            timings_us=dict(result.timings_us) if result is not None else {},
            next_due_at_us=next_due_at_us,
            source_topic=record.topic,
            source_partition=record.partition,
            source_offset=record.offset,
        )

    # Writing.

    def _write(self, record: LogRecord, attempt: Attempt) -> "asyncio.Future[Placement]":
        # from here on, whoever brings the same attempt again is late
        self._made.add(attempt.attempt_id)
        future = self._producer.send(self._topics.attempts, attempt.subscription_id, attempt)

        def on_done(done: "asyncio.Future[Placement]") -> None:
            self._kill_points.reach("after_recording")
            # acknowledged in the order they were written, so that all before this one are settled as well
            if not done.cancelled() and done.exception() is None and record.partition in self._tails:
                self._tails[record.partition].end = done.result().offset + 1

        future.add_done_callback(on_done)
        return future

    def _keep(self, delivery: Delivery, wait_us: int) -> "asyncio.Future[Placement]":
        tier = self._topics.retries[choose_tier(self._delays_s, wait_us)]
        self._metrics.retries_scheduled_total.labels(tier.name).inc()
        return self._producer.send(tier, delivery.subscription_id, delivery)

    def _put_off(self, record: LogRecord, delivery: Delivery, reason: str) -> "asyncio.Future[Placement]":
        """Wait for the control plane: for an endpoint that is not published yet, or to be disabled.

        Both take milliseconds; for ever, when the endpoints topic lost data.
        """
        if reason == "endpoint_unknown" and delivery.parked_times >= PARKED_WITHOUT_ENDPOINT_MAX:
            detail = f"the endpoint of subscription {delivery.subscription_id} is not in {self._topics.endpoints.name}"
            return self._bury(record, reason, detail, delivery)
        self._metrics.parked_total.labels(reason).inc()
        return self._keep(msgspec.structs.replace(delivery, parked_times=delivery.parked_times + 1), PARK_MIN_US)

    def _bury(
        self, record: LogRecord, reason: str, detail: str, delivery: Delivery | None = None
    ) -> "asyncio.Future[Placement]":
        self._metrics.dead_total.labels(reason).inc()
        letter = DeadLetter(
            dead_id=derive_dead_id(record.topic, record.partition, record.offset),
            reason=reason,
            detail=detail,
            source_topic=record.topic,
            source_partition=record.partition,
            source_offset=record.offset,
            source_appended_at_us=delivery.appended_at_us if delivery is not None else record.timestamp_us,
            source_key=record.key,
            source_value=record.value,
            application_id=delivery.application_id if delivery is not None else None,
            subscription_id=delivery.subscription_id if delivery is not None else None,
            delivery_id=delivery.delivery_id if delivery is not None else None,
            event_id=delivery.event_id if delivery is not None else None,
            died_at_us=time.time_ns() // 1000,
        )
        return self._producer.send(self._topics.dead, (record.key or b"").decode(errors="replace"), letter)

    # Telling how endpoints do.

    def tell_states(self) -> None:
        """Tell what was held back; to be called every few seconds."""
        now_us = time.time_ns() // 1000
        for endpoint in self._memory.list_untold():
            self._tell(endpoint, now_us)
        self._memory.observe_egress()

    def _tell(self, endpoint: Endpoint, now_us: int) -> None:
        state = self._memory.tell(endpoint, now_us)
        if state is not None:
            self._producer.send(self._topics.endpoint_states, endpoint.subscription_id, state)

    def _observe(self, delivery: Delivery, verdict: Verdict, started_at_us: int, finished_at_us: int) -> None:
        metrics = self._metrics
        outcome = "succeeded" if verdict.error_class is None else "failed"
        metrics.attempts_total.labels(outcome, verdict.error_class or "").inc()
        metrics.attempt_seconds.observe((finished_at_us - started_at_us) / 1_000_000)
        if verdict.error_class is None and delivery.attempt_number == 1:
            metrics.delivery_seconds.observe(max(0, finished_at_us - delivery.received_at_us) / 1_000_000)


def _read(record: LogRecord) -> Delivery | SchemaError:
    try:
        return expect(Delivery, record.value or b"")
    except SchemaError as error:
        return error
