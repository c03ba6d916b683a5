"""The http sink: one delivery becomes one attempt; a failed one becomes a retry or a dead letter first.

The story of a delivery: read → seen before? (here) → endpoint known? → allowed now? → payload here? (`delivering`) →
send → judge → decide → describe (`attempting`) → write (`record_keeping`). The order of writing keeps deliveries from
being lost.

An exception of one delivery that no code foresaw becomes a failed attempt (`failure`). Only a log that takes no records
(`WriteError`) ends the process.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING

import structlog

from connectors.http.attempting import Attempting
from connectors.http.bundles import LANE_PREFIX, Bundles
from connectors.http.delivering import Delivering
from connectors.http.endpoint_memory import EndpointMemory
from connectors.http.endpoint_source import EndpointSource
from connectors.http.failure import judge_error
from connectors.http.key_watch import KeyWatch
from connectors.http.learning import Learning
from connectors.http.ledger import Ledger
from connectors.http.message import Signing
from connectors.http.open_requests import OpenRequestBook
from connectors.http.outbox import Outbox, WriteError, Written
from connectors.http.parking import DeliveryParking
from connectors.http.payloads.payloads import Payloads
from connectors.http.record_keeping import RecordKeeping
from connectors.http.sending import Client, Sender
from connectors.http.shortages import Shortages
from connectors.http.steps import Steps
from connectors.sink import Incoming, LogRecord, Place
from pipeline.clock import wall_us
from pipeline.config import Settings
from pipeline.core.events.bundle import is_bundle
from pipeline.core.events.claim_check import is_claim_check
from pipeline.core.events.ids import derive_attempt_id
from pipeline.core.events.loop_detection import derive_hop
from pipeline.core.events.records import Delivery
from pipeline.core.lanes.gate import EndpointGate
from pipeline.core.lanes.lane import Rank
from pipeline.core.lanes.limiter import DestinationLimiter
from pipeline.core.log.checksum import is_corrupt
from pipeline.core.log.commit_note import CommitNote
from pipeline.kill_points import KillPoints
from pipeline.metrics import Metrics
from pipeline.topics import Topics

if TYPE_CHECKING:
    from pipeline.tracing import Tracing

STEPS = Steps()

log = structlog.get_logger()


class HttpSink:
    """Sends deliveries. Satisfies `connectors.sink.Sink`; its `parking` and its ledger go to the runtime, too."""

    def __init__(
        self,
        settings: Settings,
        topics: Topics,
        *,
        endpoints: EndpointSource,
        memory: EndpointMemory,
        client: Client,
        ledger: Ledger,
        outbox: Outbox,
        payloads: Payloads,
        keys: KeyWatch,
        shortages: Shortages,
        metrics: Metrics,
        steps: Steps = STEPS,
        clock_us: Callable[[], int] = wall_us,
        tracing: "Tracing | None" = None,
    ) -> None:
        self._memory = memory
        self._ledger = ledger
        self._outbox = outbox
        self._metrics = metrics
        self._steps = steps
        self._lead = topics.deliveries.name
        deliver, kill_points = settings.deliver, KillPoints(settings.process.kill_at)
        signing = Signing(
            header=deliver.signature_header,
            versions=deliver.signature_versions,
            has_asymmetric=deliver.sign_asymmetrically,
            hop=derive_hop(deliver.hop_name),
        )
        self.parking = DeliveryParking(topics, endpoints=endpoints, memory=memory, outbox=outbox)
        self._bundles = Bundles(
            topics, endpoints=endpoints, memory=memory, outbox=outbox, metrics=metrics, clock_us=clock_us
        )
        self.learning = Learning(memory, outbox, metrics)
        self.open_requests = OpenRequestBook()
        record_keeping = RecordKeeping(outbox, ledger, kill_points=kill_points, metrics=metrics)
        self._delivering = Delivering(
            endpoints=endpoints,
            memory=memory,
            destinations=DestinationLimiter(
                rate_per_s=deliver.destination_rate_per_s, open_max=deliver.destination_connections_max
            ),
            keys=keys,
            shortages=shortages,
            payloads=payloads,
            parking=self.parking,
            attempting=Attempting(
                sender=Sender(
                    client,
                    signing,
                    steps,
                    open_requests=self.open_requests,
                    kill_points=kill_points,
                    metrics=metrics,
                    clock_us=clock_us,
                    tracing=tracing,
                ),
                learning=self.learning,
                record_keeping=record_keeping,
                steps=steps,
                tracing=tracing,
            ),
            record_keeping=record_keeping,
            outbox=outbox,
            clock_us=clock_us,
        )

    def classify(self, record: LogRecord) -> Incoming:
        """Classify by topic and key; only records of the retry topics are decoded, for their due time.

        The work is the record as it was read: a full lane parks its bytes again.
        """
        if record.topic == self._lead:
            return Incoming(record, record.key)
        if is_bundle(record.value):
            return Incoming(record, LANE_PREFIX + (record.key or b""), Rank.PARKED)
        due_at_us = self._read_due(record)
        if due_at_us <= record.timestamp_us:  # it was due when it was written: it was parked
            return Incoming(record, record.key, Rank.PARKED)
        return Incoming(record, record.key, Rank.RETRY, due_at_us)

    def gate(self, lane: Hashable) -> EndpointGate:
        return self._memory.gate(lane)

    async def assigned(self, notes: Mapping[Place, CommitNote | None]) -> Mapping[Place, int]:
        await self._ledger.assigned(notes)
        return {}

    async def revoked(self, places: Sequence[Place]) -> None:
        self._memory.forget_parked()
        self._ledger.revoked(places)

    async def put(self, works: Sequence[LogRecord]) -> Written | None:
        (record,) = works
        try:
            if is_bundle(record.value):
                return self._bundles.take_apart(record)
            delivery = self._steps.read(record)
            is_altered = isinstance(delivery, Delivery) and not is_claim_check(delivery) and is_corrupt(delivery)
        except WriteError:
            raise
        except Exception as error:
            log.exception("record_failed", topic=record.topic, partition=record.partition, offset=record.offset)
            return self._outbox.give_up(record, "internal", judge_error(error).detail or "")
        if not isinstance(delivery, Delivery):
            return self._outbox.give_up(record, "undecodable", str(delivery))
        if is_altered:
            detail = "its content does not have the checksum that it says: it was altered after it was accepted"
            return self._outbox.give_up(record, "corrupt", detail, delivery)
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
            written = await self._delivering.deliver(record, delivery)
        except BaseException:
            self._ledger.abandon(attempt_id)
            raise
        self._ledger.follow(attempt_id, written)
        return written

    def _read_due(self, record: LogRecord) -> int:
        try:
            delivery = self._steps.read(record)
        except Exception:
            return 0  # `put` meets it again, and makes it a dead letter
        return delivery.due_at_us if isinstance(delivery, Delivery) else 0
