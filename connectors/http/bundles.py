"""Bundles that come back from a retry topic: which of their deliveries may go on, and when the others come back.

A delivery goes on by itself when its endpoint is well, or may be tried: through the shortest retry topic, or a longer
one while its endpoint has much to do. The others stay bundled, and wait longer each time.
"""

from collections import defaultdict
from collections.abc import Callable

import structlog

from connectors.http.endpoint_memory import EndpointMemory
from connectors.http.endpoint_source import EndpointSource
from connectors.http.failure import explain_error
from connectors.http.outbox import Outbox, Written
from connectors.sink import LogRecord
from pipeline.clock import monotonic_us
from pipeline.core.events.bundle import narrow, take_apart
from pipeline.core.events.records import Bundle, Delivery, Endpoint, expect, is_written, to_bytes
from pipeline.core.lanes.lane import NO_JAM
from pipeline.core.retries.cancelling import is_cancelled
from pipeline.kafka.failures import ToSend, trace
from pipeline.metrics import Metrics
from pipeline.topics import Topics
from schemas import SchemaError

LANE_PREFIX = b"bundle/"
# So many deliveries of an endpoint that has not answered may be on their way alone: to find out whether it does now.
TRIED_AT_ONCE = 2
SHORTEST = 0  # the number of the retry topic with the shortest delay

log = structlog.get_logger()


class Bundles:
    """Takes bundles apart. Those of one application have a lane for each first subscription."""

    def __init__(
        self,
        topics: Topics,
        *,
        endpoints: EndpointSource,
        memory: EndpointMemory,
        outbox: Outbox,
        metrics: Metrics,
        clock_us: Callable[[], int],
    ) -> None:
        self._topics = topics
        self._numbers = {topic.name: number for number, topic in enumerate(topics.retries)}
        self._endpoints = endpoints
        self._memory = memory
        self._outbox = outbox
        self._metrics = metrics
        self._clock_us = clock_us

    def take_apart(self, record: LogRecord) -> Written:
        """Write what becomes of each delivery; settled when all of that is written. Raises `WriteError`."""
        try:
            bundle = expect(Bundle, record.value or b"")
        except SchemaError as error:
            return self._outbox.give_up(record, "undecodable", str(error))
        waited_in = self._numbers.get(record.topic, SHORTEST - 1)
        to_write: list[ToSend] = []
        kept: dict[int, list[str]] = defaultdict(list)  # subscriptions, by the number of the retry topic
        for delivery in take_apart(bundle):
            key = delivery.subscription_id.encode()
            try:
                number, goes_on = self._decide(delivery, waited_in)
            except Exception as error:
                # what is wrong with one delivery stays with it
                log.exception("delivery_failed", topic=record.topic, partition=record.partition, offset=record.offset)
                alone = record._replace(key=key, value=to_bytes(delivery))
                to_write.append(self._outbox.encode_dead(alone, "internal", explain_error(error), delivery))
                continue
            if goes_on or not is_written(Bundle):
                self._memory.gate(key).parked[number] += 1
                to_write.append(trace((self._topics.retries[number], key, to_bytes(delivery)), record.trace))
            else:
                kept[number].append(delivery.subscription_id)
        for number, subscription_ids in kept.items():
            self._metrics.parked_total.labels("bundled").inc(len(subscription_ids))
            again = to_bytes(narrow(bundle, subscription_ids))
            to_write.append(trace((self._topics.retries[number], subscription_ids[0].encode(), again), record.trace))
        return self._outbox.write_all(to_write)

    def _decide(self, delivery: Delivery, waited_in: int) -> tuple[int, bool]:
        """The number of the retry topic that a delivery waits in next, and whether it goes on by itself."""
        endpoint = self._endpoints.get(delivery.subscription_id)
        if endpoint is None or is_cancelled(delivery, endpoint) or self._is_over(endpoint):
            return SHORTEST, True  # its own story says what becomes of it
        gate, now_us = self._memory.gate(delivery.subscription_id.encode()), monotonic_us()
        if endpoint.enabled and not self._memory.is_to_be_disabled(endpoint):
            if gate.is_well:
                return gate.choose_tier(NO_JAM, now_us, self._outbox.delays_s), True
            if sum(gate.parked.values()) < TRIED_AT_ONCE and gate.accepts(0, now_us):
                return SHORTEST, True
        return gate.choose_longer_tier(now_us, self._outbox.delays_s, waited_in), False

    def _is_over(self, endpoint: Endpoint) -> bool:
        """Is the endpoint disabled, and not held for its owner any more?"""
        return not endpoint.enabled and self._clock_us() >= endpoint.held_until_us
