"""A gate that never closes: a fixed number at once, any number waiting. For sinks whose target is one of ours."""

from pipeline.core.lanes.budget import Standing


class FixedGate:
    """Satisfies `lane.Gate`."""

    __slots__ = ("_limit", "_open")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open = 0

    def accepts(self, waiting: int, now_us: int) -> bool:
        return True

    def is_long(self, waiting: int) -> bool:
        return False

    def room(self, now_us: int) -> int:
        return self._limit - self._open

    def wakes_at_us(self, now_us: int) -> int | None:
        return None

    def is_slow(self, now_us: int) -> bool:
        return False

    def standing(self, waiting: int, now_us: int) -> Standing:
        return Standing.PROVEN

    def start(self, now_us: int) -> None:
        self._open += 1

    def end(self, now_us: int) -> None:
        self._open -= 1

    def note_drained(self, us_per_item: float, now_us: int) -> None:
        pass
