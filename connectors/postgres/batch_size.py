"""How many records are written in one transaction: fewer, after the server has given one up for its time or its size.

A batch that takes longer than a time-out, or more memory, locks or temporary files than the server gives, would be
tried again for ever. Pure.
"""

GROWTH_SHARE = 8


class BatchSize:
    """The number of records that the server takes in one transaction at present; at least one."""

    __slots__ = ("_most",)

    def __init__(self) -> None:
        self._most: int | None = None  # None: any number

    def choose(self, waiting: int) -> int:
        """How many of the waiting records to write in one transaction."""
        return waiting if self._most is None else min(waiting, self._most)

    def shrink(self, tried: int) -> None:
        """Halve the size: the server gave up a transaction of `tried` records."""
        self._most = max(1, tried // 2)

    def grow(self, written: int) -> None:
        """Raise the size by a step: a transaction of `written` records was committed. Too far costs a time-out."""
        if self._most is not None and written >= self._most:
            self._most += max(1, self._most // GROWTH_SHARE)
