"""Sending many: so many a second, a bounded number at a time, until the first that fails."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from pipeline.supervisor import first_failure

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
    """Call `send`, which returns an event's id or raises `SendError`, `count` times. Requests in flight may end.

    Any other exception of `send` cancels the requests in flight and is raised.
    """
    loop = asyncio.get_running_loop()
    started_at_s = loop.time()
    accepted, last_id, failure = 0, "", None
    room = asyncio.Semaphore(IN_FLIGHT_MAX)

    async def send_one() -> None:
        nonlocal accepted, last_id, failure
        try:
            last_id = await send()
        except SendError as error:
            failure = failure or str(error)
        else:
            accepted += 1
            on_accepted()
        finally:
            room.release()

    with first_failure():
        async with asyncio.TaskGroup() as tasks:
            async for _ in _pace(count, rate_per_s):
                await room.acquire()
                if failure is not None:
                    break
                tasks.create_task(send_one())
    return Outcome(accepted=accepted, last_id=last_id, failure=failure, seconds=loop.time() - started_at_s)


async def _pace(count: int, rate_per_s: float | None) -> AsyncIterator[int]:
    loop = asyncio.get_running_loop()
    started_at_s = loop.time()
    for number in range(count):
        if rate_per_s is not None:
            # from the start, so that a late one does not make all others late
            await asyncio.sleep(max(0.0, started_at_s + number / rate_per_s - loop.time()))
        yield number
