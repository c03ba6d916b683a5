"""Lanes: an ordered sub-stream of work each, so that nobody waits for somebody else.

A lane has two queues, fresh work and backlog (retries, and what was parked); it gives out fresh work first, with every
`BACKLOG_SHARE`-th item from the backlog, so that neither starves. Among lanes turns go round: a lane that gave gets
behind all others. How much a lane may have open at once, and from when on, is its gate's affair. Slow lanes (their gate
says so) take turns among themselves and hold a bounded share of all that is open.

A long lane is full when its gate is slow, or when it is much longer than the others are: then its owner, and nobody
else, is to wait elsewhere. Lanes that are all as long mean that this process is at its limit; putting work away would
only make more of it.
"""

import heapq
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, Protocol, TypeVar

BACKLOG_SHARE = 4
LONGER_FACTOR = 2  # than the mean of the others

T = TypeVar("T")


class Gate(Protocol):
    """Says what one lane may do now. Asked for every item: it must be cheap."""

    def accepts(self, waiting: int, now_us: int) -> bool:
        """May an item wait in the lane, with `waiting` before it? If not, it is to be put away elsewhere."""

    def is_long(self, waiting: int) -> bool:
        """Are so many enough to ask whether the lane is full?"""

    def room(self, now_us: int) -> int:
        """How many more may be started at this moment."""

    def wakes_at_us(self, now_us: int) -> int | None:
        """When there will be room without anything ending; None: not by time."""

    def is_slow(self, now_us: int) -> bool:
        """Does its work take long? Then it must not hold everybody's places."""

    def start(self, now_us: int) -> None:
        """Something was started."""

    def end(self, now_us: int) -> None:
        """Something ended, however."""


class Lane(Generic[T]):
    """One lane's waiting work."""

    __slots__ = ("backlog", "fresh", "gate", "given", "is_ready", "key")

    def __init__(self, key: Hashable, gate: Gate) -> None:
        self.key = key
        self.gate = gate
        self.fresh: deque[T] = deque()
        self.backlog: deque[T] = deque()
        self.given = 0
        self.is_ready = False  # is it waiting for its turn?

    def __len__(self) -> int:
        return len(self.fresh) + len(self.backlog)

    def pop(self) -> T:
        """The next item. The lane must not be empty."""
        self.given += 1
        if not self.fresh or (self.backlog and self.given % BACKLOG_SHARE == 0):
            return self.backlog.popleft()
        return self.fresh.popleft()


class Lanes(Generic[T]):
    """All lanes with waiting work. Items are given out at most `batch_max` at a time, of one lane."""

    def __init__(self, find_gate: Callable[[Hashable], Gate], *, batch_max: int = 1) -> None:
        self._find_gate = find_gate
        self._batch_max = batch_max
        self._lanes: dict[Hashable, Lane[T]] = {}
        self._turns: deque[Lane[T]] = deque()
        self._slow_turns: deque[Lane[T]] = deque()
        self._timers: list[tuple[int, int, Hashable]] = []
        self._timers_added = 0
        self._seen: set[Hashable] = set()
        self._seen_before: set[Hashable] = set()
        self.waiting = 0

    def __len__(self) -> int:
        """Lanes with waiting work."""
        return len(self._lanes)

    def offer(self, key: Hashable, item: T, now_us: int, *, is_backlog: bool = False) -> bool:
        """Put an item into its lane. False when the lane does not take it."""
        lane = self._lanes.get(key)
        if lane is None:
            lane = Lane(key, self._find_gate(key))
        self._seen.add(key)
        if not lane.gate.accepts(len(lane), now_us) or self._is_full(lane, now_us):
            return False
        self._lanes[key] = lane
        (lane.backlog if is_backlog else lane.fresh).append(item)
        self.waiting += 1
        self._line_up(lane, now_us)
        return True

    def rotate(self) -> None:
        """Forget which lanes had work before the last call; to be called every few seconds."""
        self._seen_before, self._seen = self._seen, set()

    def take(self, now_us: int, *, with_slow: bool = True) -> tuple[Gate, Hashable, list[T]] | None:
        """The next items to be started, of one lane; its gate has been told. None when nothing may start now."""
        while self._timers and self._timers[0][0] <= now_us:
            self.refresh(heapq.heappop(self._timers)[2], now_us)
        for turns in (self._turns, self._slow_turns) if with_slow else (self._turns,):
            while turns:
                lane = turns.popleft()
                lane.is_ready = False
                if len(lane) and lane.gate.room(now_us) > 0:
                    return lane.gate, lane.key, self._give(lane, now_us)
                self._set_timer(lane, now_us)
        return None

    def refresh(self, key: Hashable, now_us: int) -> None:
        """Something of this lane ended, or its gate opened: it may have a turn again."""
        lane = self._lanes.get(key)
        if lane is not None:
            self._line_up(lane, now_us)

    def next_timer_us(self) -> int | None:
        """When `take` should be called next even if nothing ends."""
        return self._timers[0][0] if self._timers else None

    def evict(self, key: Hashable) -> list[T]:
        """Take everything out of a lane."""
        lane = self._lanes.pop(key, None)
        if lane is None:
            return []
        items = [*lane.fresh, *lane.backlog]
        lane.fresh.clear()
        lane.backlog.clear()
        self.waiting -= len(items)
        return items

    def drop(self, is_unwanted: Callable[[T], bool]) -> list[T]:
        """Take out the items that nobody wants any more."""
        dropped: list[T] = []
        for lane in list(self._lanes.values()):
            for queue in (lane.fresh, lane.backlog):
                unwanted = [item for item in queue if is_unwanted(item)]
                if unwanted:
                    kept = [item for item in queue if not is_unwanted(item)]
                    queue.clear()
                    queue.extend(kept)
                    dropped += unwanted
            if not len(lane):
                del self._lanes[lane.key]
        self.waiting -= len(dropped)
        return dropped

    def lengths(self) -> Iterator[tuple[Hashable, int]]:
        """Every lane with how much waits in it."""
        return ((lane.key, len(lane)) for lane in self._lanes.values())

    def _is_full(self, lane: Lane[T], now_us: int) -> bool:
        length = len(lane)
        if not lane.gate.is_long(length):
            return False
        if lane.gate.is_slow(now_us):
            return True
        others = len(self._seen | self._seen_before) - 1
        return others > 0 and length > LONGER_FACTOR * (self.waiting - length) / others

    def _give(self, lane: Lane[T], now_us: int) -> list[T]:
        count = min(self._batch_max, len(lane))
        items = [lane.pop() for _ in range(count)]
        self.waiting -= count
        lane.gate.start(now_us)
        if len(lane):
            self._line_up(lane, now_us)
        else:
            del self._lanes[lane.key]
        return items

    def _line_up(self, lane: Lane[T], now_us: int) -> None:
        if lane.is_ready:
            return
        if lane.gate.room(now_us) <= 0:
            self._set_timer(lane, now_us)
            return
        lane.is_ready = True
        (self._slow_turns if lane.gate.is_slow(now_us) else self._turns).append(lane)

    def _set_timer(self, lane: Lane[T], now_us: int) -> None:
        at_us = lane.gate.wakes_at_us(now_us) if len(lane) else None
        if at_us is not None:
            self._timers_added += 1  # keeps keys, which need not be comparable, out of comparisons
            heapq.heappush(self._timers, (at_us, self._timers_added, lane.key))
