"""`hookline up` from its start to its stop: a failure of any of its tasks ends it."""

import asyncio
from collections.abc import Callable

import pytest

from pipeline.commands.up.running import StoppedError, start_and_watch


class BoomError(Exception):
    """Raised by the task that fails."""


async def fail() -> None:
    raise BoomError


async def hang() -> None:
    await asyncio.Event().wait()


async def end() -> None:
    """End at once."""


@pytest.mark.parametrize(
    ("start", "watch", "relay"),
    [(fail, hang, hang), (end, fail, hang), (end, hang, fail)],
    ids=["start", "watch", "relay"],
)
async def test_a_task_that_dies_ends_it(start: Callable, watch: Callable, relay: Callable) -> None:  # type: ignore[type-arg]  # each one a function of this file
    """The end has the reason that the task gave."""
    with pytest.raises(BoomError):
        await start_and_watch(asyncio.Event(), start=start, watch=watch, relay=relay)


async def test_a_signal_while_it_runs_ends_it_in_order() -> None:
    """A signal after the start stops it in order."""
    stopping = asyncio.Event()
    running = asyncio.create_task(start_and_watch(stopping, start=end, watch=hang, relay=hang))
    await asyncio.sleep(0)
    stopping.set()

    assert await running


@pytest.mark.parametrize("gives_up", [False, True], ids=["cancelled", "gives up by itself"])
async def test_a_signal_during_the_start_ends_it(gives_up: bool) -> None:
    """A start that sees the signal before it is cancelled gives up by itself: that is no failure either."""
    stopping = asyncio.Event()

    async def start() -> None:
        stopping.set()
        if gives_up:
            raise StoppedError
        await hang()

    assert not await start_and_watch(stopping, start=start, watch=hang, relay=hang)
