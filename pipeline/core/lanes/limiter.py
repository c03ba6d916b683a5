"""How much one destination may get from all tenants together: a rate, and requests at once. Pure; time is handed in.

The key is the addressed (host, port), across all subscriptions. It is not the IP address: thousands of unrelated hosts
share the few addresses of a content delivery network.

Applications share a destination. While others are there, one has at most as many requests at once as it leaves free
(see `budget`). Applications that were refused come first, in the order of their refusals, and their shares are kept
free. Refused deliveries do not wait here: they are parked in retry topics, and come back from there.
"""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field

from pipeline.core.limits.token_bucket import CellRate
from pipeline.core.units import SECOND_US

# when something ends is not known: ask again so much later
BUSY_WAIT_US = SECOND_US
# Those that were refused come back after their wait, rounded up to a retry topic's delay, and when they have a turn.
BACK_WITHIN_US = 5 * SECOND_US
SEEN_US = 60 * SECOND_US
DESTINATIONS_MAX = 100_000
FORGET_STEPS = 16


@dataclass(slots=True)
class Owner:
    """One application at a destination: its requests in flight, and when it asked last."""

    open: int = 0
    asked_at_us: int = 0


@dataclass(slots=True)
class Turn:
    """A turn of an application: how many requests come back, until when they should have, how many have started."""

    count: int = 0
    back_until_us: int = 0
    started: int = 0


@dataclass(slots=True)
class Usage:
    """The use of one destination. `served_until_us`: until then, the requests started so far use up the rate.

    `owners`: applications seen lately, the last one that asked at the end. `turns`: applications that were refused, the
    next one first.
    """

    served_until_us: float = 0.0
    open: int = 0
    owners: OrderedDict[Hashable, Owner] = field(default_factory=OrderedDict)
    turns: OrderedDict[Hashable, Turn] = field(default_factory=OrderedDict)

    def meet(self, owner: Hashable, now_us: int) -> Owner:
        """Note that the owner asks, and forget owners that have not asked for long."""
        met = self.owners.get(owner)
        if met is None:
            met = self.owners[owner] = Owner()
        met.asked_at_us = now_us
        self.owners.move_to_end(owner)
        for _ in range(FORGET_STEPS):
            oldest, other = next(iter(self.owners.items()))
            if other.open or other.asked_at_us > now_us - SEEN_US:
                break
            del self.owners[oldest]
        return met

    def count_ahead(self, owner: Hashable, share: int, room: int, now_us: int, *, free: int | None) -> int:
        """How many are left for others whose turn is before the owner's; counts no further than `room`.

        `free`: places; an owner that has as many has all that it may have.
        """
        ahead, gone = 0, []
        for other, turn in self.turns.items():
            if other == owner or ahead >= room:
                break
            if turn.back_until_us < now_us:
                gone.append(other)
            elif free is None or other not in self.owners or self.owners[other].open < free:
                ahead += max(1, min(turn.count, share - turn.started))
        for other in gone:
            del self.turns[other]
        return ahead

    def refuse(self, owner: Hashable, wait_us: int, now_us: int) -> None:
        """The owner comes back later, and has a turn then."""
        turn = self.turns.setdefault(owner, Turn())
        turn.count += 1
        turn.back_until_us = now_us + wait_us + BACK_WITHIN_US

    def start(self, owner: Hashable, share: int) -> None:
        """One more request of the owner; when its turn has had its share, the others' turns come first."""
        self.open += 1
        turn = self.turns.get(owner)
        if turn is None:
            return
        turn.count -= 1
        turn.started += 1
        if not turn.count:
            del self.turns[owner]
        elif turn.started >= share:
            turn.started = 0
            self.turns.move_to_end(owner)


class DestinationLimiter:
    """`rate_per_s`: requests started, a second's worth of them at once; `open_max`: requests in flight. 0: no bound.

    A destination that nothing is known of has a whole second's worth. Forgets the ones used longest ago, beyond
    `destinations_max`; those with requests in flight it keeps, and the process bounds their number.
    """

    __slots__ = ("_at_once", "_destinations_max", "_open_max", "_rate", "_uses")

    def __init__(self, *, rate_per_s: float, open_max: int, destinations_max: int = DESTINATIONS_MAX) -> None:
        self._rate = CellRate(interval=SECOND_US / rate_per_s, burst=rate_per_s) if rate_per_s > 0 else None
        self._open_max = open_max
        at_once = ([open_max] if open_max else []) + ([max(1, round(rate_per_s))] if rate_per_s else [])
        self._at_once = min(at_once, default=0)
        self._destinations_max = destinations_max
        self._uses: OrderedDict[Hashable, Usage] = OrderedDict()

    def __len__(self) -> int:
        """Destinations that are remembered."""
        return len(self._uses)

    def try_start(self, destination: Hashable, owner: Hashable, now_us: int) -> int:
        """Start a request if it may start. Returns 0 if so (`end` must follow), else the microseconds to wait at least.

        `owner`: the application whose request it is.
        """
        if self._rate is None and not self._open_max:
            return 0
        use = self._uses.get(destination)
        if use is None:
            use = self._uses[destination] = Usage()
            self._forget()
        else:
            self._uses.move_to_end(destination)
        met = use.meet(owner, now_us)
        share = max(1, self._at_once // (len(use.turns) + (owner not in use.turns)))
        wait_us = self._find_wait(use, owner, met, share, now_us)
        if wait_us:
            use.refuse(owner, wait_us, now_us)
            return wait_us
        if self._rate is not None:
            use.served_until_us = self._rate.serve(use.served_until_us, now_us)
        use.start(owner, share)
        met.open += 1
        return 0

    def end(self, destination: Hashable, owner: Hashable) -> None:
        """A request that `try_start` let go has ended, however."""
        use = self._uses.get(destination)
        met = use.owners.get(owner) if use is not None else None
        if use is not None and met is not None and met.open > 0:
            use.open -= 1
            met.open -= 1

    def _find_wait(self, use: Usage, owner: Hashable, met: Owner, share: int, now_us: int) -> int:
        free = self._open_max - use.open if self._open_max else self._at_once
        if free <= 0 or (self._open_max and len(use.owners) > 1 and met.open >= free):
            return BUSY_WAIT_US
        room = free if self._rate is None else min(free, self._rate.room(use.served_until_us, now_us))
        ahead = use.count_ahead(owner, share, max(room, 1), now_us, free=free if self._open_max else None)
        if ahead < room:
            return 0
        if self._rate is None:
            return BUSY_WAIT_US
        wait_us = self._rate.wait(use.served_until_us, now_us)
        return max(1, round(wait_us)) if wait_us > 0 else BUSY_WAIT_US

    def _forget(self) -> None:
        # a few steps for each one that is added are enough to come to one that is not in use
        for _ in range(FORGET_STEPS):
            if len(self._uses) <= self._destinations_max:
                return
            destination, use = self._uses.popitem(last=False)
            if use.open > 0:
                self._uses[destination] = use
