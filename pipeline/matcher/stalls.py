"""Partitions at which the client stands still although the log goes on.

A wrong length in a batch's header has no checksum. aiokafka asks again for ever for what such a length promises, and
raises nothing.
"""

import time
from collections.abc import Mapping

from pipeline.kafka.record import Place

# Longer than a fetch waits. A full process may leave a partition alone for longer: what it has fetched shows it.
STALLED_AFTER_S = 2.0


class Stalls:
    """Stalls of one reader's partitions: remembers since when each has been at its position."""

    def __init__(self) -> None:
        self._since_s: dict[Place, tuple[int, float]] = {}

    def list_places(self, positions: Mapping[Place, int], ends: Mapping[Place, int]) -> list[Place]:
        """Partitions at which reading stands still. `ends`: the ends of what may be read."""
        now_s = time.monotonic()
        behind = {place: position for place, position in positions.items() if position < ends.get(place, 0)}
        self._since_s = {
            place: known
            if (known := self._since_s.get(place)) is not None and known[0] == position
            else (position, now_s)
            for place, position in behind.items()
        }
        return [place for place, (_, since_s) in self._since_s.items() if now_s - since_s >= STALLED_AFTER_S]
