"""Asking the system for the addresses of names, in threads of our own: a slow name holds up nobody but itself.

The system's resolver cannot be cancelled, and takes half a minute for a name whose servers are silent. So look-ups are
bounded in all and for each zone (the last two labels of a name), and none of them has to end for the process to end.
"""

import asyncio
import socket
import threading
from collections import Counter
from collections.abc import Callable, Sequence

# Blocking; raises what `socket.getaddrinfo` raises.
Lookup = Callable[[str], Sequence[str]]

ZONE_SHARE = 8  # of all look-ups, one zone may have an eighth
WAITING_MAX = 10_000


class LookupsBusyError(Exception):
    """Too many look-ups are waiting already."""


def look_up(name: str) -> list[str]:
    """The addresses of a name, IPv4 and IPv6, in the order in which the system would dial them."""
    return [str(entry[4][0]) for entry in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)]


class Lookups:
    """At most `at_once_max` look-ups at a time, and of one zone an eighth of that; others wait for their turn."""

    def __init__(self, lookup: Lookup, *, at_once_max: int) -> None:
        self._lookup = lookup
        self._at_once_max = at_once_max
        self._zone_max = max(1, at_once_max // ZONE_SHARE)
        self._open = 0
        self._open_by_zone: Counter[str] = Counter()
        self._waiting: dict[asyncio.Future[Sequence[str]], str] = {}

    def ask(self, name: str) -> "asyncio.Future[Sequence[str]]":
        """The future of the addresses; it may be cancelled. Raises `LookupsBusyError` at once, or the look-up's error."""
        if len(self._waiting) >= WAITING_MAX:
            raise LookupsBusyError
        future: asyncio.Future[Sequence[str]] = asyncio.get_running_loop().create_future()
        self._waiting[future] = name
        self._start_waiting()
        return future

    def _start_waiting(self) -> None:
        if self._open >= self._at_once_max:
            return
        for future, name in list(self._waiting.items()):
            if future.done():  # nobody wants it any more
                del self._waiting[future]
            elif self._open_by_zone[find_zone(name)] < self._zone_max:
                del self._waiting[future]
                self._start(future, name)
                if self._open >= self._at_once_max:
                    return

    def _start(self, future: "asyncio.Future[Sequence[str]]", name: str) -> None:
        self._open += 1
        self._open_by_zone[find_zone(name)] += 1
        # a daemon: at the end of the process nobody waits for a name server that is silent
        threading.Thread(
            target=self._run, args=(asyncio.get_running_loop(), future, name), name="lookup", daemon=True
        ).start()

    def _run(self, loop: asyncio.AbstractEventLoop, future: "asyncio.Future[Sequence[str]]", name: str) -> None:
        try:
            outcome: Sequence[str] | Exception = self._lookup(name)
        except Exception as error:  # noqa: BLE001 - handed over to whoever asked
            outcome = error
        try:
            loop.call_soon_threadsafe(self._end, future, name, outcome)
        except RuntimeError:
            return  # the loop has been closed meanwhile

    def _end(self, future: "asyncio.Future[Sequence[str]]", name: str, outcome: Sequence[str] | Exception) -> None:
        self._open -= 1
        zone = find_zone(name)
        self._open_by_zone[zone] -= 1
        if not self._open_by_zone[zone]:
            del self._open_by_zone[zone]
        if not future.done():
            if isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)
        self._start_waiting()


def find_zone(name: str) -> str:
    """Whose name servers answer for a name, roughly."""
    return ".".join(name.rstrip(".").split(".")[-2:])
