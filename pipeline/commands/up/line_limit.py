"""Deliveries on their way to a person's eyes: at most so many a second, the rest is counted. Pure."""

from collections.abc import Callable

SHOWN_PER_SECOND = 20


class LineLimit:
    """`show` takes a line, `clock` says the seconds."""

    __slots__ = ("_clock", "_left_out", "_second", "_show", "_shown")

    def __init__(self, show: Callable[[str], None], clock: Callable[[], float]) -> None:
        self._show = show
        self._clock = clock
        self._second = 0
        self._shown = 0
        self._left_out = 0

    def pass_on(self, line: str) -> None:
        """Show a line, or count it."""
        self.keep_time()
        if self._shown < SHOWN_PER_SECOND:
            self._shown += 1
            self._show(line)
        else:
            self._left_out += 1

    def keep_time(self) -> None:
        """Once a second is over, say how many of its lines were not shown. Called regularly: no line may follow."""
        second = int(self._clock())
        if second != self._second:
            self.finish()
            self._second, self._shown = second, 0

    def finish(self) -> None:
        """Say at once how many were not shown, if any: no line will follow."""
        if self._left_out:
            self._show(f"... and {self._left_out:,} more within that second; all are in the log")
            self._left_out = 0
