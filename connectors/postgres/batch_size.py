"""How many records are written in one transaction: fewer, after the server has given one up for its time or its size.

A batch that takes longer than a time-out, or more memory, locks or temporary files than the server gives, would be
tried again for ever. Pure.
"""

GROWTH_SHARE = 8


class BatchSize:
    """The size that the server takes at present. Never less than one record."""

    __slots__ = ("_most",)

    def __init__(self) -> None:
        self._most: int | None = None  # None: any number

    def choose(self, waiting: int) -> int:
        """How many of the records that wait to write at once."""
        return waiting if self._most is None else min(waiting, self._most)

    def shrink(self, tried: int) -> None:
        """The server gave up a transaction of so many."""
        self._most = max(1, tried // 2)

    def grow(self, written: int) -> None:
        """A transaction of so many was committed. In steps: to find the limit again costs a time-out."""
        if self._most is not None and written >= self._most:
            self._most += max(1, self._most // GROWTH_SHARE)
