"""Where deliveries wait for capacity or for the control plane: a retry topic. Parking counts no attempt."""

from collections.abc import Hashable

import msgspec

from connectors.http.bundles import LANE_PREFIX
from connectors.http.endpoint_memory import EndpointMemory
from connectors.http.endpoint_source import EndpointSource
from connectors.http.outbox import Outbox, Written
from connectors.sink import Incoming, LogRecord
from pipeline.clock import monotonic_us
from pipeline.core.events.records import Delivery
from pipeline.core.lanes.lane import Jam, Rank
from pipeline.core.retries.tiers import choose_tier
from pipeline.topics import Topics

PARKED_WITHOUT_ENDPOINT_MAX = 60
WAIT_MIN_US, WAIT_MAX_US = 1_000_000, 600_000_000


class DeliveryParking:
    """Satisfies `connectors.sink.Parking`."""

    def __init__(self, topics: Topics, *, endpoints: EndpointSource, memory: EndpointMemory, outbox: Outbox) -> None:
        self._endpoints = endpoints
        self._memory = memory
        self._outbox = outbox
        self._endpoints_topic = topics.endpoints.name
        self._tier_numbers = {tier.name: number for number, tier in enumerate(topics.retries)}

    # Parking.

    def owner(self, lane: Hashable) -> Hashable:
        # by its endpoint, so that no record is decoded for it; one that is not published yet is on its own
        key = lane.removeprefix(LANE_PREFIX) if isinstance(lane, bytes) else b""
        endpoint = self._endpoints.get(key.decode(errors="replace"))
        return lane if endpoint is None else endpoint.application_id

    def park(self, incoming: Incoming, jam: Jam, now_us: int) -> Written:
        record: LogRecord = incoming.work
        if incoming.due_at_us > now_us:
            return self._outbox.put_in_tier(record, choose_tier(self._outbox.delays_s, incoming.due_at_us - now_us))
        gate = self._memory.gate(incoming.lane)
        waited_in = self._tier_numbers.get(record.topic) if incoming.rank is Rank.PARKED else None
        tier = gate.choose_tier(jam, monotonic_us(), self._outbox.delays_s, waited_in=waited_in)
        return self._park(record, incoming.lane, tier, "breaker" if gate.opened_until_us else "lane_full")

    def came_back(self, incoming: Incoming) -> None:
        gate, tier = self._memory.gate(incoming.lane), self._tier_numbers[incoming.work.topic]
        gate.parked[tier] = max(0, gate.parked[tier] - 1)

    # For deliveries that were started and found out that they must wait.

    def park_for(self, record: LogRecord, wait_us: int, reason: str) -> Written:
        """Wait so long for capacity: of this process, or of a destination."""
        return self._park(record, record.key, choose_tier(self._outbox.delays_s, wait_us), reason)

    def park_for_endpoint(self, record: LogRecord, delivery: Delivery, reason: str) -> Written:
        """Wait for the control plane: to publish an endpoint, or (longer each time) to disable or enable it."""
        wait_us = WAIT_MIN_US
        if reason != "endpoint_unknown":
            wait_us = min(WAIT_MIN_US * 2 ** min(delivery.parked_times, 10), WAIT_MAX_US)
        elif delivery.parked_times >= PARKED_WITHOUT_ENDPOINT_MAX:
            detail = f"the endpoint of subscription {delivery.subscription_id} is not in {self._endpoints_topic}"
            return self._outbox.give_up(record, reason, detail, delivery)
        again = msgspec.structs.replace(delivery, parked_times=delivery.parked_times + 1)
        return self._outbox.park_again(again, wait_us, reason, record.trace)

    def _park(self, record: LogRecord, lane: Hashable, number: int, reason: str) -> Written:
        self._memory.gate(lane).parked[number] += 1
        return self._outbox.park(record, number, reason)
