"""Looking up names in threads of our own: a slow name does not hold up others.

The system's resolver cannot be cancelled, and takes half a minute for a name whose servers are silent. So look-ups are
bounded in all, for each zone (the names of one domain, roughly) and for each owner (the application that asks). The
process can end while look-ups are still running.
"""

import asyncio
import contextlib
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from connectors.http.client.lookup import Lookup, start_daemon
from connectors.http.client.lookup_places import LookupPlaces
from connectors.http.client.lookup_turns import Found, LookupTurns, Waiting
from connectors.http.client.shortage import LOOKUPS, OWN_LOOKUPS, ShortageError
from pipeline.core.lanes.budget import Standing

ZONE_SHARE = 8  # of all look-ups, one zone may have an eighth
WAITING_MAX = 20_000
ZONE_WAITING_MAX = 2000
SLOW_AFTER_S = 1.0
ZONES_MAX = 20_000  # remembered
# Below top-level domains of two letters, second labels of so few stand for a kind of owners: co.uk, com.au, or.jp.
SECOND_LABEL_MAX = 3

# Raises RuntimeError when the system has no more threads.
StartThread = Callable[[Callable[[], None]], None]


class LookupsBusyError(Exception):
    """Too many look-ups of this zone are waiting already."""


@dataclass(slots=True, eq=False)
class Zone:
    """The look-ups of one zone. `slow`: how many of the open ones are open for long; `last`: how the last one ended.

    `waiting`: how many names wait for their turn.
    """

    name: str
    open: int = 0
    slow: int = 0
    last: Standing = Standing.UNKNOWN
    waiting: int = 0

    @property
    def standing(self) -> Standing:
        return Standing.SLOW if self.slow else self.last


@dataclass(slots=True, eq=False)
class Open:
    """One look-up that a thread is at. `standing`: that of its zone when it began; slow, once it is open for long."""

    zone: Zone
    owner: Hashable
    standing: Standing
    becomes_slow: asyncio.TimerHandle | None = None


class Lookups:
    """Bounds look-ups: `at_once_max` run at a time, an eighth of that for one zone, a part for one owner.

    Others wait for their turn.
    """

    def __init__(
        self,
        lookup: Lookup,
        *,
        at_once_max: int,
        start_thread: StartThread = start_daemon,
        slow_after_s: float = SLOW_AFTER_S,
    ) -> None:
        self._lookup = lookup
        self._start_thread = start_thread
        self._slow_after_s = slow_after_s
        self._zone_max = max(1, at_once_max // ZONE_SHARE)
        self._places = LookupPlaces(at_once_max)
        self._zones: OrderedDict[str, Zone] = OrderedDict()
        self._turns = {standing: LookupTurns() for standing in Standing}
        self._standings = deque(Standing)
        self._waiting: dict[str, Waiting] = {}  # by name
        self._waiting_count = 0

    def ask(self, name: str, owner: Hashable) -> Found:
        """The addresses, or the look-up's error; it may be cancelled.

        Raises `LookupsBusyError` or `ShortageError` at once.
        """
        zone = self._find(find_zone(name))
        waiting = Waiting(asyncio.get_running_loop().create_future(), name)
        if self._has_room(zone, owner):
            self._start(zone, owner, waiting)
            return waiting.future
        if zone.waiting >= ZONE_WAITING_MAX:
            raise LookupsBusyError
        if self._waiting_count >= WAITING_MAX:
            raise ShortageError(LOOKUPS)
        self._waiting[name] = waiting
        self._wait(zone, owner, waiting)
        return waiting.future

    def share(self, name: str, owner: Hashable) -> None:
        """Let another owner wait for a name that was asked for: it is looked up in whichever turn comes first."""
        waiting = self._waiting.get(name)
        if waiting is not None and owner not in waiting.owners and self._waiting_count < WAITING_MAX:
            self._wait(self._find(find_zone(name)), owner, waiting)
            self._start_waiting()

    def find_shortage(self, name: str, owner: Hashable) -> str | None:
        """Name what keeps this name's look-up from beginning: `LOOKUPS` that others hold, or `OWN_LOOKUPS`.

        None: it has begun, or its zone is slow, or has all the look-ups that a zone may have.
        """
        zone = self._zones.get(find_zone(name))
        if zone is None or zone.standing is Standing.SLOW or zone.open >= self._zone_max or self.has_begun(name):
            return None
        return LOOKUPS if self._places.is_held_by_others(owner, zone.standing) else OWN_LOOKUPS

    def has_begun(self, name: str) -> bool:
        """Is the name's look-up under way, as opposed to waiting for its turn?"""
        return name not in self._waiting

    def _find(self, name: str) -> Zone:
        zone = self._zones.get(name)
        if zone is None:
            zone = self._zones[name] = Zone(name)
            self._forget()
        else:
            self._zones.move_to_end(name)
        return zone

    def _forget(self) -> None:
        for _ in range(len(self._zones) - ZONES_MAX):
            name, zone = self._zones.popitem(last=False)
            if zone.open or zone.waiting:
                self._zones[name] = zone

    def _has_room(self, zone: Zone, owner: Hashable) -> bool:
        return self._zone_has_room(zone) and self._places.has_room(owner, zone.standing)

    def _zone_has_room(self, zone: Zone) -> bool:
        return zone.open < min(self._zone_max, self._places.free(zone.standing))

    def _wait(self, zone: Zone, owner: Hashable, waiting: Waiting) -> None:
        waiting.owners.add(owner)
        self._turns[zone.standing].add(owner, zone.name, [waiting])
        zone.waiting += 1
        self._waiting_count += 1

    def _start_waiting(self) -> None:
        while (found := self._find_next()) is not None:
            turns, owner, name = found
            waiting, zone = turns.take(owner, name), self._zones[name]
            zone.waiting -= 1
            self._waiting_count -= 1
            if waiting.has_begun:
                continue  # in another owner's turn
            if waiting.future.done():  # not awaited any more
                self._forget_waiting(waiting)
            else:
                self._start(zone, owner, waiting)

    def _find_next(self) -> tuple[LookupTurns, Hashable, str] | None:
        for _ in Standing:
            standing = self._standings[0]
            self._standings.rotate(-1)
            if self._places.free(standing) > 0:
                turns = self._turns[standing]
                found = turns.find(
                    partial(self._places.has_room, standing=standing),
                    lambda name: self._zone_has_room(self._zones[name]),
                )
                if found is not None:
                    return turns, *found
        return None

    def _forget_waiting(self, waiting: Waiting) -> None:
        if self._waiting.get(waiting.name) is waiting:
            del self._waiting[waiting.name]

    def _start(self, zone: Zone, owner: Hashable, waiting: Waiting) -> None:
        loop = asyncio.get_running_loop()
        waiting.has_begun = True
        self._forget_waiting(waiting)
        opened = Open(zone, owner, zone.standing)
        zone.open += 1
        self._places.take(owner, opened.standing)
        try:
            self._start_thread(partial(self._run, loop, waiting.future, waiting.name, opened))
        except RuntimeError as error:  # the system has no more threads for us
            self._give_back(opened)
            waiting.future.set_exception(error)
        else:
            opened.becomes_slow = loop.call_later(self._slow_after_s, self._note_slow, opened)

    def _run(self, loop: asyncio.AbstractEventLoop, future: Found, name: str, opened: Open) -> None:
        try:
            outcome: Sequence[str] | Exception = self._lookup(name)
        except Exception as error:  # raised where the answer is awaited
            outcome = error
        try:
            loop.call_soon_threadsafe(self._end, future, outcome, opened)
        except RuntimeError:
            return  # the loop has been closed meanwhile

    def _note_slow(self, opened: Open) -> None:
        opened.becomes_slow = None
        self._places.give_back(opened.owner, opened.standing)
        opened.standing = Standing.SLOW
        self._places.take(opened.owner, opened.standing)
        with self._moving(opened.zone):
            opened.zone.slow += 1
            opened.zone.last = Standing.SLOW
        self._start_waiting()

    def _end(self, future: Found, outcome: Sequence[str] | Exception, opened: Open) -> None:
        zone = opened.zone
        with self._moving(zone):
            if opened.becomes_slow is not None:
                opened.becomes_slow.cancel()
                zone.last = Standing.PROVEN
            else:
                zone.slow -= 1
            self._give_back(opened)
        if not future.done():
            if isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)
        self._start_waiting()

    @contextlib.contextmanager
    def _moving(self, zone: Zone) -> Iterator[None]:
        """The zone's standing may change: what waits of it waits among others of its kind."""
        before = zone.standing
        yield
        if zone.waiting and zone.standing is not before:
            self._turns[before].move(zone.name, self._turns[zone.standing])

    def _give_back(self, opened: Open) -> None:
        opened.zone.open -= 1
        self._places.give_back(opened.owner, opened.standing)


def find_zone(name: str) -> str:
    """The zone whose name servers answer for a name, roughly: what one owner has."""
    labels = name.rstrip(".").split(".")
    is_of_a_country = len(labels) > 2 and len(labels[-1]) == 2  # as ISO 3166 has them
    return ".".join(labels[-3:] if is_of_a_country and len(labels[-2]) <= SECOND_LABEL_MAX else labels[-2:])
