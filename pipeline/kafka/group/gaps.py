"""Offsets between which nothing was read: did retention delete records there?

The end of a transaction takes an offset, too, and so do records that their producer aborted: those are no loss.
"""

import structlog
from confluent_kafka import KafkaException, TopicPartition

from pipeline.kafka.group.clients import QUERY_TIMEOUT_S, Clients
from pipeline.kafka.group.handover import Handover
from pipeline.kafka.group.requests import Requests
from pipeline.kafka.record import Place

log = structlog.get_logger()


class Gaps:
    """Gaps in offsets. Belongs to the consumer's thread."""

    def __init__(self, requests: Requests, clients: Clients, handover: Handover) -> None:
        self._requests = requests
        self._clients = clients
        self._handover = handover

    def explain(self) -> None:
        """Compare the gaps that the loop has reported to where their partitions begin. Blocks."""
        gaps = self._requests.gaps
        starts: dict[Place, int] = {}
        missing: dict[Place, int] = {}
        while gaps:
            place, begin, end = gaps[0]
            if place not in starts:
                try:
                    starts[place], _ = self._clients.group.get_watermark_offsets(
                        TopicPartition(*place), timeout=QUERY_TIMEOUT_S
                    )
                except KafkaException as error:
                    log.warning("consumer_waits", reason=error.args[0].str())
                    break  # asked again
            gaps.popleft()
            missing[place] = missing.get(place, 0) + max(0, min(starts[place], end) - begin)
        for place, records in missing.items():
            if records:
                self._handover.tell_missing(place, records)
