"""Asking the system for the addresses of names, in threads of our own: a slow name does not hold up others.

The system's resolver cannot be cancelled, and takes half a minute for a name whose servers are silent. So look-ups are
bounded in all and for each zone (the names that one owner has, roughly), and none of them has to end for the process to
end. As with requests (`pipeline.core.lanes.budget`), slow zones share a part of the places, zones of which nothing is
known yet another one, so that neither takes what proven ones need; and a zone has no more than what is still free.
"""

import asyncio
import contextlib
import mmap
import os
import socket
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from connectors.http.client.shortage import ShortageError
from pipeline.core.lanes.budget import PLACE_SHARES, Held, Standing, share

# Blocking; raises what `socket.getaddrinfo` raises.
Lookup = Callable[[str], Sequence[str]]

ZONE_SHARE = 8  # of all look-ups, one zone may have an eighth
WAITING_MAX = 20_000
ZONE_WAITING_MAX = 2000
SLOW_AFTER_S = 1.0
ZONES_MAX = 20_000  # remembered
# Below top-level domains of two letters, second labels of so few stand for a kind of owners: co.uk, com.au, or.jp.
SECOND_LABEL_MAX = 3
LOOKUP_BYTES = 16 * 1024 * 1024  # modules that the resolver loads, and room to work

# Raises RuntimeError when the system has no more threads.
StartThread = Callable[[Callable[[], None]], None]
Found = asyncio.Future[Sequence[str]]


class LookupsBusyError(Exception):
    """Too many look-ups of this zone are waiting already."""


def look_up(name: str) -> list[str]:
    """The addresses of a name, IPv4 and IPv6, in the order in which the system would dial them."""
    try:
        return [str(entry[4][0]) for entry in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)]
    except socket.gaierror:
        # without a file or memory for the question the system's resolver says that the name does not exist
        _require_means()
        raise


def warm_up() -> None:
    """Let the system's resolver load its modules now.

    One that cannot be loaded, for lack of files or memory, is never tried again: no name would ever be found.
    """
    with contextlib.suppress(OSError):
        look_up("localhost")


def _require_means() -> None:
    """Raises OSError when this process lacks what a look-up takes."""
    os.close(os.open(os.devnull, os.O_RDONLY))
    mmap.mmap(-1, LOOKUP_BYTES).close()


def start_daemon(run: Callable[[], None]) -> None:
    """Run in a daemon thread: at the end of the process a name server may be silent, and must not be waited for."""
    threading.Thread(target=run, name="lookup", daemon=True).start()


@dataclass(slots=True, eq=False)
class Zone:
    """The look-ups of one zone. `slow`: how many of the open ones are open for long; `last`: how the last one ended."""

    name: str
    open: int = 0
    slow: int = 0
    last: Standing = Standing.UNKNOWN
    waiting: deque[tuple[Found, str]] = field(default_factory=deque)

    @property
    def standing(self) -> Standing:
        return Standing.SLOW if self.slow else self.last


@dataclass(slots=True, eq=False)
class Open:
    """One look-up that a thread is at. `standing`: that of its zone when it began; slow, once it is open for long."""

    zone: Zone
    standing: Standing
    becomes_slow: asyncio.TimerHandle | None = None


class Lookups:
    """Bounds look-ups: `at_once_max` run at a time, and an eighth of that for one zone; others wait for their turn."""

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
        self._at_once_max = at_once_max
        self._zone_max = max(1, at_once_max // ZONE_SHARE)
        self._caps = share(at_once_max, PLACE_SHARES)
        self._held = Held()
        self._zones: OrderedDict[str, Zone] = OrderedDict()
        # zones with names that wait; the next in turn first, of the standings and of the zones
        self._waiting: dict[Standing, OrderedDict[str, Zone]] = {standing: OrderedDict() for standing in Standing}
        self._standings = deque(Standing)
        self._waiting_count = 0

    def ask(self, name: str) -> Found:
        """The addresses, or the look-up's error; it may be cancelled.

        Raises `LookupsBusyError` or `ShortageError` at once.
        """
        zone = self._find(find_zone(name))
        future: Found = asyncio.get_running_loop().create_future()
        if self._has_room(zone):
            self._start(zone, future, name)
            return future
        if len(zone.waiting) >= ZONE_WAITING_MAX:
            raise LookupsBusyError
        if self._waiting_count >= WAITING_MAX:
            raise ShortageError("look-ups")
        zone.waiting.append((future, name))
        self._waiting[zone.standing][zone.name] = zone
        self._waiting_count += 1
        return future

    def waits_for_others(self, name: str) -> bool:
        """Has this name's look-up not begun because those of other zones hold all places? A slow zone's are its own."""
        zone = self._zones.get(find_zone(name))
        if zone is None or zone.standing is Standing.SLOW or zone.open >= self._zone_max:
            return False
        return not self.has_begun(name)

    def has_begun(self, name: str) -> bool:
        """Is the name's look-up under way, as opposed to waiting for its turn?"""
        zone = self._zones.get(find_zone(name))
        return zone is None or all(name != waiting for _, waiting in zone.waiting)

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

    def _has_room(self, zone: Zone) -> bool:
        return zone.open < min(self._zone_max, self._count_free(zone.standing))

    def _count_free(self, standing: Standing) -> int:
        return min(self._at_once_max - self._held.all, self._caps.free(self._held, standing))

    def _start_waiting(self) -> None:
        while (zone := self._find_next()) is not None:
            future, name = zone.waiting.popleft()
            self._waiting_count -= 1
            turns = self._waiting[zone.standing]
            if zone.waiting:
                turns.move_to_end(zone.name)
            else:
                del turns[zone.name]
            if not future.done():  # still awaited
                self._start(zone, future, name)

    def _find_next(self) -> Zone | None:
        for _ in Standing:
            standing = self._standings[0]
            self._standings.rotate(-1)
            if self._count_free(standing) > 0:
                # quickly found: only as many zones can be full as they have shares
                found = next((zone for zone in self._waiting[standing].values() if self._has_room(zone)), None)
                if found is not None:
                    return found
        return None

    def _start(self, zone: Zone, future: Found, name: str) -> None:
        loop = asyncio.get_running_loop()
        opened = Open(zone, zone.standing)
        zone.open += 1
        self._held.add(opened.standing, 1)
        try:
            self._start_thread(partial(self._run, loop, future, name, opened))
        except RuntimeError as error:  # the system has no more threads for us
            self._give_back(opened)
            future.set_exception(error)
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
        self._held.add(opened.standing, -1)
        opened.standing = Standing.SLOW
        self._held.add(Standing.SLOW, 1)
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
            del self._waiting[before][zone.name]
            self._waiting[zone.standing][zone.name] = zone

    def _give_back(self, opened: Open) -> None:
        opened.zone.open -= 1
        self._held.add(opened.standing, -1)


def find_zone(name: str) -> str:
    """The zone whose name servers answer for a name, roughly: what one owner has."""
    labels = name.rstrip(".").split(".")
    is_of_a_country = len(labels) > 2 and len(labels[-1]) == 2  # as ISO 3166 has them
    return ".".join(labels[-3:] if is_of_a_country and len(labels[-2]) <= SECOND_LABEL_MAX else labels[-2:])
