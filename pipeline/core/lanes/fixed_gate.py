"""A gate that never closes: a fixed number at once, any number waiting. For sinks whose target is one of ours."""

from collections.abc import Callable

from pipeline.core.lanes.budget import Standing


class FixedGate:
    """Satisfies `lane.Gate`."""

    __slots__ = ("_apart_us", "_limit", "_next_at_us", "_open")

    def __init__(self, limit: int, *, apart_us: Callable[[], int] = lambda: 0) -> None:
        """`apart_us`: from one start to the next, at least; asked at each start."""
        self._limit = limit
        self._apart_us = apart_us
        self._open = 0
        self._next_at_us = 0

    def accepts(self, waiting: int, now_us: int) -> bool:
        return True

    def is_long(self, waiting: int) -> bool:
        return False

    def room(self, now_us: int) -> int:
        return self._limit - self._open if now_us >= self._next_at_us else 0

    def wakes_at_us(self, now_us: int) -> int | None:
        return self._next_at_us if now_us < self._next_at_us else None

    def is_slow(self, now_us: int) -> bool:
        return False

    def standing(self, waiting: int, now_us: int) -> Standing:
        return Standing.PROVEN

    def start(self, now_us: int) -> None:
        self._open += 1
        self._next_at_us = now_us + self._apart_us()

    def end(self, now_us: int) -> None:
        self._open -= 1

    def note_drained(self, us_per_item: float, now_us: int) -> None:
        pass
