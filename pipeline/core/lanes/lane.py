"""One lane: the ordered sub-stream of work of one endpoint, and what its gate says of it.

A lane has a queue for each rank: fresh work, and as its backlog retries and parked records. It gives out fresh work
first, with every `BACKLOG_SHARE`-th item from the next rank, and so on, so that none starves.
"""

from collections import deque
from collections.abc import Hashable
from enum import IntEnum
from typing import Generic, NamedTuple, Protocol, TypeVar

from pipeline.core.lanes.budget import Standing
from pipeline.core.lanes.turns import Turns

BACKLOG_SHARE = 4
# A lane's speed is that of about its last ten seconds.
SPEED_WINDOW_US = 10_000_000
SPEED_ITEMS_MIN = 20

T = TypeVar("T")


class Rank(IntEnum):
    """The order of work in a lane."""

    FRESH = 0
    RETRY = 1
    PARKED = 2


class Jam(NamedTuple):
    """The queue that a refused record would have waited behind."""

    waiting: int
    us_per_item: float  # at the lane's speed; 0: not known
    us_per_turn: float = 0.0  # until each of the lanes with parked work has had a turn, at the pace of parked work


NO_JAM = Jam(0, 0.0)


class Gate(Protocol):
    """Decides how much one lane may do now. It is asked for every item, so it must be cheap."""

    def accepts(self, waiting: int, now_us: int) -> bool:
        """May an item wait in the lane, with `waiting` before it? If not, it must be parked."""

    def is_long(self, waiting: int) -> bool:
        """May a lane with so many waiting items be full?"""

    def room(self, now_us: int) -> int:
        """How many more may be started at this moment."""

    def wakes_at_us(self, now_us: int) -> int | None:
        """Time at which room opens on its own, or None if only a completion can open it."""

    def is_slow(self, now_us: int) -> bool:
        """Does the lane's work take long?"""

    def standing(self, waiting: int, now_us: int) -> Standing:
        """The lane's state, with `waiting` items in it."""

    def start(self, now_us: int) -> None:
        """Count a start."""

    def end(self, now_us: int) -> None:
        """Count an end, of whatever outcome."""

    def note_drained(self, us_per_item: float, now_us: int) -> None:
        """The lane has given out all that it had, at this speed."""


class Lane(Generic[T]):
    """One lane's waiting work."""

    __slots__ = ("gate", "given", "group", "key", "queues", "ready_in", "timed", "timed_from_us")

    def __init__(self, key: Hashable, gate: Gate, group: Hashable, now_us: int) -> None:
        self.key = key
        self.gate = gate
        self.group = group
        self.queues: tuple[deque[T], ...] = tuple(deque() for _ in Rank)
        self.given = 0
        self.ready_in: Turns[Lane[T]] | None = None  # where it waits for its turn
        self.timed = 0  # given since then
        self.timed_from_us = now_us

    def __len__(self) -> int:
        fresh, retries, parked = self.queues
        return len(fresh) + len(retries) + len(parked)

    @property
    def is_parked(self) -> bool:
        """Does the lane hold parked items only?"""
        fresh, retries, _ = self.queues
        return not fresh and not retries

    def pop(self) -> T:
        """The next item. The lane must not be empty."""
        self.given += 1
        self.timed += 1
        fresh, retries, parked = self.queues
        if not retries and not parked:
            return fresh.popleft()
        filled = [rank for rank in Rank if self.queues[rank]]
        turn, choice = self.given, 0
        while turn % BACKLOG_SHARE == 0 and choice < len(filled) - 1:
            turn //= BACKLOG_SHARE
            choice += 1
        return self.queues[filled[choice]].popleft()

    def pop_last(self) -> T | None:
        """Remove the item with the last turn; None: the lane is empty."""
        for queue in reversed(self.queues):
            if queue:
                return queue.pop()
        return None

    def measure_us_per_item(self, now_us: int) -> float:
        """The time per item while there was work; 0: not known."""
        if self.timed < SPEED_ITEMS_MIN:
            return 0.0
        taken_us = now_us - self.timed_from_us
        us_per_item = taken_us / self.timed
        if taken_us > SPEED_WINDOW_US:
            self.timed_from_us, self.timed = now_us - taken_us // 2, self.timed // 2
        return us_per_item
