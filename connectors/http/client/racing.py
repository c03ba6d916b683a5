"""Connecting to a host with several addresses, some of which may be dead (RFC 8305, Happy Eyeballs).

The next address is tried when the one before has failed, or has not answered for a quarter of a second; the first that
connects wins, and the others are given up. Families take turns. With many addresses the steps are shorter, so that all
of them are tried before the time is up. The attempts belong to one race and end with it: the first failure of one does
not end the others, which is why no supervisor runs them.
"""

import asyncio
import socket
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Sequence
from itertools import chain, zip_longest

STEP_S = 0.25
STEP_MIN_S = 0.01
STEPS_SHARE = 0.5  # of the time there is: the last address needs some as well
REMEMBERED_MAX = 10_000

# (address, port) → a connected socket; raises OSError.
Connect = Callable[[str, int], Awaitable[socket.socket]]


class RaceError(Exception):
    """No address could be connected to. `errors`: why, in the order in which they failed."""

    def __init__(self, errors: Sequence[Exception]) -> None:
        super().__init__(f"{len(errors)} addresses failed")
        self.errors = errors


class Remembered:
    """Which address worked last, by host and port; the ones used longest ago are forgotten."""

    def __init__(self, *, remembered_max: int = REMEMBERED_MAX) -> None:
        self._remembered_max = remembered_max
        self._addresses: OrderedDict[Hashable, str] = OrderedDict()

    def put(self, place: Hashable, address: str) -> None:
        self._addresses[place] = address
        self._addresses.move_to_end(place)
        if len(self._addresses) > self._remembered_max:
            self._addresses.popitem(last=False)

    def get(self, place: Hashable) -> str | None:
        return self._addresses.get(place)


def order(addresses: Sequence[str], first: str | None) -> list[str]:
    """Order addresses: first the one that worked last, then IPv6 and IPv4 in turns, the system's choice first."""
    families = ([each for each in addresses if ":" in each], [each for each in addresses if ":" not in each])
    if addresses and ":" not in addresses[0]:
        families = families[::-1]
    turns = [each for each in chain.from_iterable(zip_longest(*families)) if each is not None]
    return sorted(turns, key=lambda each: each != first)  # stable


async def race(addresses: Sequence[str], port: int, *, connect: Connect, timeout_s: float) -> tuple[socket.socket, str]:
    """The first socket that connects, and its address. The caller bounds the time. Raises `RaceError`."""
    step_s = max(STEP_MIN_S, min(STEP_S, STEPS_SHARE * timeout_s / max(1, len(addresses))))
    waiting = list(addresses)
    running: dict[asyncio.Task[socket.socket], str] = {}
    errors: list[Exception] = []
    try:
        while waiting or running:
            if waiting:
                address = waiting.pop(0)
                running[asyncio.ensure_future(_connect(connect, address, port))] = address
            done, _ = await asyncio.wait(
                running, timeout=step_s if waiting else None, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                error = task.exception()
                if error is None:
                    return task.result(), running.pop(task)
                del running[task]
                if not isinstance(error, OSError):
                    raise error  # unforeseen
                errors.append(error)
    finally:
        _give_up(running)
    raise RaceError(errors)


async def _connect(connect: Connect, address: str, port: int) -> socket.socket:
    return await connect(address, port)


def _give_up(running: "dict[asyncio.Task[socket.socket], str]") -> None:
    """Cancel the others; one that has connected meanwhile is closed."""
    for task in running:
        task.add_done_callback(_close)
        task.cancel()


def _close(task: "asyncio.Task[socket.socket]") -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().close()
