"""Asking the system for the addresses of names, in threads of our own: a slow name does not hold up others.

The system's resolver cannot be cancelled, and takes half a minute for a name whose servers are silent. So look-ups are
bounded in all and for each zone (the last two labels of a name), and none of them has to end for the process to end.
"""

import asyncio
import contextlib
import mmap
import os
import socket
import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Sequence
from functools import partial

from connectors.http.client.shortage import ShortageError

# Blocking; raises what `socket.getaddrinfo` raises.
Lookup = Callable[[str], Sequence[str]]

ZONE_SHARE = 8  # of all look-ups, one zone may have an eighth
WAITING_MAX = 20_000
ZONE_WAITING_MAX = 2000
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


class Lookups:
    """Bounds look-ups: `at_once_max` run at a time, and an eighth of that for one zone; others wait for their turn."""

    def __init__(self, lookup: Lookup, *, at_once_max: int, start_thread: StartThread = start_daemon) -> None:
        self._lookup = lookup
        self._start_thread = start_thread
        self._at_once_max = at_once_max
        self._zone_max = max(1, at_once_max // ZONE_SHARE)
        self._open = 0
        self._open_by_zone: Counter[str] = Counter()
        self._waiting: OrderedDict[str, deque[tuple[Found, str]]] = OrderedDict()  # by zone; the next in turn first
        self._waiting_count = 0

    def ask(self, name: str) -> Found:
        """The addresses, or the look-up's error; it may be cancelled.

        Raises `LookupsBusyError` or `ShortageError` at once.
        """
        zone = find_zone(name)
        future: Found = asyncio.get_running_loop().create_future()
        if self._has_room(zone):
            self._start(future, name)
            return future
        if len(self._waiting.get(zone, ())) >= ZONE_WAITING_MAX:
            raise LookupsBusyError
        if self._waiting_count >= WAITING_MAX:
            raise ShortageError("look-ups")
        self._waiting.setdefault(zone, deque()).append((future, name))
        self._waiting_count += 1
        return future

    def waits_for_others(self, name: str) -> bool:
        """Has this name's look-up not begun because those of other zones hold all places?"""
        zone = find_zone(name)
        is_waiting = any(name == waiting for _, waiting in self._waiting.get(zone, ()))
        return is_waiting and self._open_by_zone[zone] < self._zone_max

    def _has_room(self, zone: str) -> bool:
        return self._open < self._at_once_max and self._open_by_zone[zone] < self._zone_max

    def _start_waiting(self) -> None:
        # quickly found: only as many zones can be full as they have shares
        while (zone := next((zone for zone in self._waiting if self._has_room(zone)), None)) is not None:
            queue = self._waiting[zone]
            future, name = queue.popleft()
            self._waiting_count -= 1
            if queue:
                self._waiting.move_to_end(zone)
            else:
                del self._waiting[zone]
            if not future.done():  # still awaited
                self._start(future, name)

    def _start(self, future: Found, name: str) -> None:
        self._open += 1
        self._open_by_zone[find_zone(name)] += 1
        try:
            self._start_thread(partial(self._run, asyncio.get_running_loop(), future, name))
        except RuntimeError as error:  # the system has no more threads for us
            self._give_back(name)
            future.set_exception(error)

    def _run(self, loop: asyncio.AbstractEventLoop, future: Found, name: str) -> None:
        try:
            outcome: Sequence[str] | Exception = self._lookup(name)
        except Exception as error:  # raised where the answer is awaited
            outcome = error
        try:
            loop.call_soon_threadsafe(self._end, future, name, outcome)
        except RuntimeError:
            return  # the loop has been closed meanwhile

    def _end(self, future: Found, name: str, outcome: Sequence[str] | Exception) -> None:
        self._give_back(name)
        if not future.done():
            if isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)
        self._start_waiting()

    def _give_back(self, name: str) -> None:
        self._open -= 1
        zone = find_zone(name)
        self._open_by_zone[zone] -= 1
        if not self._open_by_zone[zone]:
            del self._open_by_zone[zone]


def find_zone(name: str) -> str:
    """The zone whose name servers answer for a name, roughly."""
    return ".".join(name.rstrip(".").split(".")[-2:])
