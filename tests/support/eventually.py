"""Waiting in tests: ask again until the answer is yes. The only place where a test may sleep."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from inspect import isawaitable
from typing import TypeVar, cast, overload

T = TypeVar("T")

FIRST_PAUSE_S = 0.01
LAST_PAUSE_S = 0.25
# A check that costs little is asked again after this at the latest; a dear one takes a tenth of the time at most.
CHEAP_PAUSE_S = 0.05
PAUSE_PER_COST = 9
# A check that began in time may end; one that hangs must not hang the test.
CHECK_GRACE_S = 5.0


@overload
async def eventually(check: Callable[[], Awaitable[T]], *, timeout_s: float = 30.0) -> T: ...
@overload
async def eventually(check: Callable[[], T], *, timeout_s: float = 30.0) -> T: ...
async def eventually(check: Callable[[], T | Awaitable[T]], *, timeout_s: float = 30.0) -> T:
    """Call `check` (sync or async) until it returns something truthy, and return that.

    A falsy value or an AssertionError means "not yet"; any other exception is let out at once. It is called at least
    once, and once more at the end. Raises AssertionError with the last value or failure after `timeout_s`.
    """
    deadline_s = time.monotonic() + timeout_s
    pauses_s = pauses()
    while True:
        began_s = time.monotonic()
        is_last = began_s >= deadline_s
        failure: AssertionError | None = None
        try:
            value = await _call(check, max(deadline_s - time.monotonic(), 0) + CHECK_GRACE_S)
        except AssertionError as error:
            failure, seen = error, f"failed with: {error}"
        else:
            if value:
                return value
            seen = f"returned {value!r}, which is not truthy"
        if is_last:
            raise AssertionError(f"not within {timeout_s:g} s: the check's last call {seen}") from failure
        now_s = time.monotonic()
        pause_s = limit_pause(next(pauses_s), cost_s=now_s - began_s)
        await asyncio.sleep(min(pause_s, max(deadline_s - now_s, 0)))


def pauses() -> Iterator[float]:
    """Seconds between calls: doubled each time, up to a quarter of a second."""
    pause_s = FIRST_PAUSE_S
    while True:
        yield pause_s
        pause_s = min(pause_s * 2, LAST_PAUSE_S)


def limit_pause(pause_s: float, *, cost_s: float) -> float:
    """Shortened for a check that took only `cost_s` seconds."""
    return min(pause_s, max(CHEAP_PAUSE_S, PAUSE_PER_COST * cost_s))


async def _call(check: Callable[[], T | Awaitable[T]], time_left_s: float) -> T:
    value = check()
    if not isawaitable(value):
        return value
    try:
        async with asyncio.timeout(time_left_s) as limit:
            return cast(T, await value)
    except TimeoutError:
        if not limit.expired():
            raise
        raise AssertionError("it was still running when the time was up") from None
