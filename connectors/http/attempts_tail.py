"""How far a commit may say that attempts have been seen, after a start that found attempts no commit knew of.

Those attempts settle source records that are only read again after the start. Until all of these are settled too, the
note must go on naming the place where reading began: were it to name the end at once, a crash right after that commit
would bring the records back without the attempts that settle them.
"""

from connectors.sink import IsSettled, Place


class AttemptsTail:
    """One partition of the attempts topic. `end`: attempts before it are in the log, those of this process included."""

    __slots__ = ("_sources", "_start", "end")

    def __init__(self, start: int, *, end: int) -> None:
        self._start = start
        self._sources: list[tuple[Place, int]] = []
        self.end = end

    def add(self, place: Place, offset: int) -> None:
        """An attempt that was read at the start settles the record there."""
        self._sources.append((place, offset))

    def find_seen(self, is_settled: IsSettled) -> int:
        """Attempts before this offset need not be read again, if a commit is made now."""
        sources = self._sources
        # from the end: settled ones are not looked at again
        while sources and is_settled(*sources[-1]):
            sources.pop()
        return self._start if sources else self.end
