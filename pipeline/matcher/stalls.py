"""Partitions at which the client stands still although the log goes on: the batch there is looked at by its bytes.

A wrong length in a batch's header has no checksum. aiokafka asks again for ever for what such a length promises, and
raises nothing.
"""

import asyncio
import time
from collections.abc import Mapping

import structlog

from pipeline.config import KafkaConfig
from pipeline.kafka.damage.survey import Survey
from pipeline.kafka.read_faults import ReadFault
from pipeline.kafka.record import Place

# Longer than a fetch waits. A full process may leave a partition alone for longer: a look in vain costs a fetch.
STALLED_AFTER_S = 3.0

log = structlog.get_logger()


class Stalls:
    """Stalls of one reader's partitions: remembers since when each has been at its position."""

    def __init__(self, config: KafkaConfig) -> None:
        self._config = config
        self._since_s: dict[Place, tuple[int, float]] = {}

    async def find(self, positions: Mapping[Place, int], ends: Mapping[Place, int]) -> list[ReadFault]:
        """Batches that cannot be read and at which reading stands still. `ends`: of what may be read."""
        now_s = time.monotonic()
        behind = {place: position for place, position in positions.items() if position < ends.get(place, 0)}
        self._since_s = {
            place: known
            if (known := self._since_s.get(place)) is not None and known[0] == position
            else (position, now_s)
            for place, position in behind.items()
        }
        stalled = {
            place: position
            for place, (position, since_s) in self._since_s.items()
            if now_s - since_s >= STALLED_AFTER_S
        }
        if not stalled:
            return []
        for place, position in stalled.items():
            self._since_s[place] = (position, now_s)  # not at every round
        try:
            return await asyncio.to_thread(self._look, stalled)
        except TimeoutError as error:
            log.warning("stall_not_looked_at", reason=str(error))
            return []

    def _look(self, stalled: Mapping[Place, int]) -> list[ReadFault]:
        survey = Survey(self._config)
        try:
            looks = {place: survey.look(place, position) for place, position in stalled.items()}
        finally:
            survey.close()
        return [
            ReadFault(place, "unreadable", look.bad.begin, look.bad.end, look.bad.reason)
            for place, look in looks.items()
            if look.bad is not None and look.bad.end is not None
        ]
