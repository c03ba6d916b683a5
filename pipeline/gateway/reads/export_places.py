"""Places of exports that run at once in a gateway: an organization has half of them at most, a slow client gives way.

Otherwise a few clients that take a byte now and then would keep all others from exporting, for as long as they like.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# An export gives its place to another one once it has waited so long for its client, in all, and was as slow as this.
WAITED_MIN_S = 10.0
SLOW_BYTES_PER_S = 64 * 1024


class Place:
    """The place of an export. `break_off`: ends it."""

    def __init__(self, owner: str, break_off: Callable[[], None], clock: Callable[[], float]) -> None:
        self.owner = owner
        self.break_off = break_off
        self._clock = clock
        self._sent_bytes = 0
        self._waited_s = 0.0
        self._waits_since_s: float | None = None

    @contextmanager
    def send(self, size_bytes: int) -> Iterator[None]:
        """Count what the client takes within the block, and for how long it is waited for."""
        self._waits_since_s = self._clock()
        yield
        self._waited_s += self._clock() - self._waits_since_s
        self._waits_since_s = None
        self._sent_bytes += size_bytes

    @property
    def is_slow(self) -> bool:
        waited_s = self._waited_s + (self._clock() - self._waits_since_s if self._waits_since_s is not None else 0.0)
        return waited_s >= WAITED_MIN_S and self._sent_bytes < SLOW_BYTES_PER_S * waited_s


class ExportPlaces:
    """The places of one gateway."""

    def __init__(self, places_max: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock`: seconds."""
        self._clock = clock
        self._places_max = places_max
        self._each_max = max(1, places_max // 2)
        self._open: dict[Place, None] = {}  # the oldest first

    @contextmanager
    def take(self, owner: str, break_off: Callable[[], None]) -> Iterator[Place | None]:
        """A place for an export of `owner`, until the end of the block; None: there is none."""
        place = self._find(owner, break_off)
        try:
            yield place
        finally:
            if place is not None:
                self._open.pop(place, None)

    def _find(self, owner: str, break_off: Callable[[], None]) -> Place | None:
        taken = Counter(place.owner for place in self._open)
        has_all = taken[owner] >= self._each_max
        if has_all or len(self._open) >= self._places_max:
            slow = next((each for each in self._open if each.is_slow and (each.owner == owner or not has_all)), None)
            if slow is None:
                return None
            self._open.pop(slow)
            slow.break_off()
        place = Place(owner, break_off, self._clock)
        self._open[place] = None
        return place
