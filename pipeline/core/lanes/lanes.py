"""Lanes: an ordered sub-stream of work each, so that no lane waits for another one.

Among lanes turns go round: first among groups (applications), then among a group's lanes. How much a lane may have open
at once, and from when on, its gate decides; how much lanes and groups may have together, the caller of `take` (see
`budget`).

Lanes of one standing (their gate says which) take turns among themselves, and so do lanes with nothing but parked
work, which can be passed over while others need the machine. Each of these classes gets a share of the starts when
there are fewer places than work, so that slow lanes make progress as well.

A long lane is full when its gate is slow, or when it is much longer than the others: then only its owner's items wait
elsewhere. If all lanes are equally long, this process is at its limit, and parking would only make more work.
"""

import heapq
from collections.abc import Callable, Hashable, Sequence
from typing import Generic, NamedTuple, TypeVar

from pipeline.core.lanes.budget import Standing
from pipeline.core.lanes.lane import NO_JAM, Gate, Jam, Lane, Rank
from pipeline.core.lanes.turns import Turns

LONGER_FACTOR = 2  # than the mean of the others
# Where a search for a lane looks first, in turn: (are there only parked items in it, its standing). So each kind has a
# share of the starts when there are fewer places than work.
Kind = tuple[bool, Standing]
PROVEN, UNKNOWN, SLOW = (False, Standing.PROVEN), (False, Standing.UNKNOWN), (False, Standing.SLOW)
PARKED = ((True, Standing.PROVEN), (True, Standing.UNKNOWN))


def _alternate(one: Sequence[Kind], other: Sequence[Kind]) -> tuple[tuple[Kind, ...], ...]:
    return (
        (PROVEN, UNKNOWN, *one, SLOW),
        (UNKNOWN, PROVEN, *one, SLOW),
        (PROVEN, UNKNOWN, *other, SLOW),
        (*other, PROVEN, UNKNOWN, SLOW),
        (PROVEN, UNKNOWN, *one, SLOW),
        (UNKNOWN, PROVEN, *one, SLOW),
        (PROVEN, UNKNOWN, *other, SLOW),
        (SLOW, PROVEN, UNKNOWN, *other),
    )


# The pace lets parked work go one by one: were proven lanes always first, one with thousands would take every turn. The
# two ways alternate among odd and even looks, since every other look may be one that finds nothing.
ORDERS = (*_alternate(PARKED, PARKED[::-1]), *_alternate(PARKED[::-1], PARKED))

T = TypeVar("T")
MayOpen = Callable[[Hashable, Standing], bool]


class Taken(NamedTuple, Generic[T]):
    """Items of one lane to start now."""

    gate: Gate
    key: Hashable
    items: list[T]
    # How many of them the pace of parked work must count. None of a slow lane, which its places bound, nor of one with
    # other work, which gives out what was parked beside it: counted, they would use up the pace, and what was parked
    # of others, and waits for nothing else, would not start for as long as a busy lane had some.
    parked: int


class Lanes(Generic[T]):
    """All lanes with waiting work. Items are given out at most `batch_max` at a time, of one lane."""

    def __init__(
        self,
        find_gate: Callable[[Hashable], Gate],
        *,
        find_group: Callable[[Hashable], Hashable] = lambda _: None,
        batch_max: int = 1,
    ) -> None:
        """`find_group`: of a lane's key; the same one as long as the lane has work."""
        self._find_gate = find_gate
        self._find_group = find_group
        self._batch_max = batch_max
        self._lanes: dict[Hashable, Lane[T]] = {}
        self._turns: dict[Standing, Turns[Lane[T]]] = {standing: Turns() for standing in Standing}
        self._parked_turns: dict[Standing, Turns[Lane[T]]] = {standing: Turns() for standing in Standing}
        self._orders = [
            [(are_parked, standing, self._turns_of(standing, are_parked=are_parked)) for are_parked, standing in order]
            for order in ORDERS
        ]
        self._taken = 0
        self._timers: list[tuple[int, int, Hashable]] = []
        self._timers_added = 0
        self._seen: set[Hashable] = set()
        self._seen_before: set[Hashable] = set()
        self._seen_count = 0  # in either: asked at each item for a long lane, of which there may be thousands
        self.waiting = 0

    def __len__(self) -> int:
        """Lanes with waiting work."""
        return len(self._lanes)

    @property
    def has_parked(self) -> bool:
        """Does a lane wait for its turn that has nothing but parked work?"""
        return any(self._parked_turns.values())

    def count_parked(self) -> int:
        """Lanes that wait for their turn with nothing but parked work."""
        return sum(map(len, self._parked_turns.values()))

    @property
    def has_runnable(self) -> bool:
        """Does a lane wait for its turn that is not slow and has more than parked work?"""
        return bool(self._turns[Standing.PROVEN] or self._turns[Standing.UNKNOWN])

    def offer(self, key: Hashable, item: T, now_us: int, rank: Rank = Rank.FRESH) -> bool:
        """Put an item into its lane. False when the lane does not take it."""
        lane = self._lanes.get(key)
        if lane is None:
            lane = Lane(key, self._find_gate(key), self._find_group(key), now_us)
        self._see(key)
        if not lane.gate.accepts(len(lane), now_us) or self._is_full(lane, now_us):
            return False
        self._lanes[key] = lane
        lane.queues[rank].append(item)
        self.waiting += 1
        self._line_up(lane, now_us)
        return True

    def put_back(self, key: Hashable, item: T, now_us: int, rank: Rank = Rank.FRESH) -> None:
        """An item that was given out and could not be done: before all others of its rank, also in a full lane."""
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = Lane(key, self._find_gate(key), self._find_group(key), now_us)
        lane.queues[rank].appendleft(item)
        self.waiting += 1
        self._line_up(lane, now_us)

    def describe_jam(self, key: Hashable, now_us: int) -> Jam:
        """The queue of this lane, and its speed."""
        lane = self._lanes.get(key)
        return NO_JAM if lane is None else Jam(len(lane), lane.measure_us_per_item(now_us))

    def rotate(self) -> None:
        """Forget which lanes had work before the last call; to be called every few seconds."""
        self._seen_before, self._seen = self._seen, set()
        self._seen_count = len(self._seen_before)

    def take(
        self,
        now_us: int,
        *,
        may_open: MayOpen = lambda _group, _standing: True,
        has_place: Callable[[Standing], bool] = lambda _standing: True,
        with_parked: bool = True,
    ) -> Taken[T] | None:
        """The next items to be started, of one lane; its gate has counted them. None when nothing may start now.

        `may_open`: is there a place for a lane of this group and standing? `has_place`: for any lane of this standing?
        If not, thousands of groups need not be asked.
        """
        while self._timers and self._timers[0][0] <= now_us:
            self.refresh(heapq.heappop(self._timers)[2], now_us)
        self._taken += 1
        order = self._orders[self._taken % len(ORDERS)]
        while True:
            moved = False
            for are_parked, standing, turns in order:
                if not turns or (are_parked and not with_parked) or not has_place(standing):
                    continue
                while (lane := turns.pop(_ask_of(may_open, standing))) is not None:
                    lane.ready_in = None
                    if not len(lane):
                        continue
                    if lane.gate.room(now_us) > 0 and self._find_turns(lane, now_us) is turns:
                        items = self._give(lane, now_us)
                        return Taken(lane.gate, lane.key, items, len(items) if are_parked else 0)
                    self._line_up(lane, now_us)
                    moved = moved or lane.ready_in is not None
            if not moved:
                return None
            # A lane has become another kind since it was lined up, perhaps one that was passed by: once more, or its
            # work would wait for the next call.

    def refresh(self, key: Hashable, now_us: int) -> None:
        """Give the lane a turn again: a request of it ended, or its gate opened."""
        lane = self._lanes.get(key)
        if lane is not None:
            self._line_up(lane, now_us)

    def length(self, key: Hashable) -> int:
        """The number of items that wait in a lane."""
        lane = self._lanes.get(key)
        return 0 if lane is None else len(lane)

    def trim(self, key: Hashable) -> T | None:
        """Remove the last waiting item of a lane; None: nothing waits in it."""
        lane = self._lanes.get(key)
        item = None if lane is None else lane.pop_last()
        if item is not None and lane is not None:
            self.waiting -= 1
            if not len(lane):
                del self._lanes[key]
        return item

    def evict(self, key: Hashable) -> list[T]:
        """Remove a lane; returns its items."""
        lane = self._lanes.pop(key, None)
        if lane is None:
            return []
        items = [item for queue in lane.queues for item in queue]
        for queue in lane.queues:
            queue.clear()
        self.waiting -= len(items)
        return items

    def drop(self, is_unwanted: Callable[[T], bool]) -> list[T]:
        """Remove the unwanted items from all lanes; returns them."""
        dropped: list[T] = []
        for lane in list(self._lanes.values()):
            for queue in lane.queues:
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

    def _see(self, key: Hashable) -> None:
        if key not in self._seen:
            self._seen.add(key)
            self._seen_count += key not in self._seen_before

    def _is_full(self, lane: Lane[T], now_us: int) -> bool:
        length = len(lane)
        if not lane.gate.is_long(length):
            return False
        if lane.gate.is_slow(now_us):
            return True
        others = self._seen_count - 1
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
            us_per_item = lane.measure_us_per_item(now_us)
            if us_per_item:
                lane.gate.note_drained(us_per_item, now_us)
        return items

    def _line_up(self, lane: Lane[T], now_us: int) -> None:
        if lane.ready_in is not None:
            if lane.is_parked or not any(lane.ready_in is turns for turns in self._parked_turns.values()):
                return
            lane.ready_in.remove(lane.group, lane)  # work has come that need not wait so long
            lane.ready_in = None
        if lane.gate.room(now_us) <= 0:
            self._set_timer(lane, now_us)
            return
        lane.ready_in = self._find_turns(lane, now_us)
        lane.ready_in.append(lane.group, lane)

    def _find_turns(self, lane: Lane[T], now_us: int) -> Turns[Lane[T]]:
        standing = lane.gate.standing(len(lane), now_us)
        are_parked = lane.is_parked and standing is not Standing.SLOW
        return self._turns_of(standing, are_parked=are_parked)

    def _turns_of(self, standing: Standing, *, are_parked: bool) -> Turns[Lane[T]]:
        return (self._parked_turns if are_parked else self._turns)[standing]

    def _set_timer(self, lane: Lane[T], now_us: int) -> None:
        at_us = lane.gate.wakes_at_us(now_us) if len(lane) else None
        if at_us is not None:
            self._timers_added += 1  # keeps keys, which need not be comparable, out of comparisons
            heapq.heappush(self._timers, (at_us, self._timers_added, lane.key))


def _ask_of(may_open: MayOpen, standing: Standing) -> Callable[[Hashable], bool]:
    return lambda group: may_open(group, standing)
