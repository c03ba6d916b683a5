"""Sending many: so many a second, a bounded number at a time, until the first that fails."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

IN_FLIGHT_MAX = 64


class SendError(Exception):
    """An event was not accepted. The message says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """`accepted`: how many; `last_id`: of the event accepted last; `failure`: why sending ended early."""

    accepted: int
    last_id: str
    failure: str | None
    seconds: float


async def send_all(
    send: Callable[[], Awaitable[str]], *, count: int, rate_per_s: float | None, on_accepted: Callable[[], None]
) -> Outcome:
    """Call `send`, which returns an event's id or raises `SendError`, `count` times. What is in flight may end."""
    loop = asyncio.get_running_loop()
    started_at_s = loop.time()
    accepted, last_id, failure = 0, "", None
    waiting: set[asyncio.Future[str]] = set()

    def settle(done: set["asyncio.Future[str]"]) -> None:
        nonlocal accepted, last_id, failure
        for each in done:
            try:
                last_id = each.result()
            except SendError as error:
                failure = failure or str(error)
            else:
                accepted += 1
                on_accepted()

    async for _ in _pace(count, rate_per_s):
        waiting.add(asyncio.ensure_future(send()))
        # with room left, only what is done already
        timeout_s = 0 if len(waiting) < IN_FLIGHT_MAX else None
        done, waiting = await asyncio.wait(waiting, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        settle(done)
        if failure is not None:
            break
    if waiting:
        settle((await asyncio.wait(waiting))[0])
    return Outcome(accepted=accepted, last_id=last_id, failure=failure, seconds=loop.time() - started_at_s)


async def _pace(count: int, rate_per_s: float | None) -> AsyncIterator[int]:
    loop = asyncio.get_running_loop()
    started_at_s = loop.time()
    for number in range(count):
        if rate_per_s is not None:
            # from the start, so that a late one does not make all others late
            await asyncio.sleep(max(0.0, started_at_s + number / rate_per_s - loop.time()))
        yield number
