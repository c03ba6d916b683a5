"""A clock that wakes to a tenth of a millisecond, where the system has one. Event loops' own timers take whole ones.

At 50 events a second a webhook takes a few milliseconds: one more, added by the instrument, would be seen.
"""

import asyncio
import ctypes
import os
import sys
from collections.abc import Callable

from pipeline.clock import wall_us
from pipeline.core.units import SECOND_US

SHORTEST_US = 20
# As often as this at most: events due in between go out together.
PERIOD_MIN_US = 500
CLOCK_MONOTONIC = 1
EXPIRY_BYTES = 8


class FineTimer:
    """Calls back at exact times."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._wakes: dict[Callable[[], None], int] = {}
        self._rung_us = 0
        self._timer: asyncio.TimerHandle | None = None
        self._precise = PreciseTimer(self._loop, self._ring) if sys.platform == "linux" else None

    def set(self, callback: Callable[[], None], at_us: int) -> None:
        """Call back once at this time (of the wall clock), or a little later."""
        self._wakes[callback] = at_us
        if min(self._wakes.values()) == at_us:
            self._arm(at_us)

    def close(self) -> None:
        """Stop the timer: no callback is called any more."""
        self._wakes.clear()
        if self._precise is not None:
            self._precise.close()

    def _arm(self, at_us: int) -> None:
        now_us = wall_us()
        wait_us = max(at_us - now_us, self._rung_us + PERIOD_MIN_US - now_us, SHORTEST_US)
        if self._precise is not None:
            self._precise.arm(wait_us)
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later((wait_us // 1000 + 1) / 1000, self._ring)

    def _ring(self) -> None:
        now_us = self._rung_us = wall_us()
        for callback, at_us in list(self._wakes.items()):
            if at_us <= now_us:
                del self._wakes[callback]
                callback()
        if self._wakes:
            self._arm(min(self._wakes.values()))


class _Time(ctypes.Structure):
    _fields_ = (("s", ctypes.c_long), ("ns", ctypes.c_long))


class _Setting(ctypes.Structure):
    _fields_ = (("interval", _Time), ("value", _Time))


class PreciseTimer:
    """Linux's timer as a file (timerfd), which Python has from 3.13 on only. Raises OSError when there are no more."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_ring: Callable[[], None]) -> None:
        self._loop = loop
        self._on_ring = on_ring
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._setting = _Setting()
        self._fd: int = self._libc.timerfd_create(CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        loop.add_reader(self._fd, self._read)

    def arm(self, wait_us: int) -> None:
        """Ring once after this."""
        self._setting.value.s, rest_us = divmod(wait_us, SECOND_US)
        self._setting.value.ns = rest_us * 1000
        self._libc.timerfd_settime(self._fd, 0, ctypes.byref(self._setting), None)

    def close(self) -> None:
        """Ring no more."""
        self._loop.remove_reader(self._fd)
        os.close(self._fd)

    def _read(self) -> None:
        try:
            os.read(self._fd, EXPIRY_BYTES)
        except BlockingIOError:
            return  # armed anew meanwhile
        self._on_ring()
