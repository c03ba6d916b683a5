"""Background work: the first failure ends the process, whatever it is, and nothing is left running."""

import asyncio
import contextlib
from functools import partial

import pytest

from pipeline import supervisor
from pipeline.supervisor import Supervisor, cancel_leftovers, run_beside, run_together


class BoomError(Exception):
    """Raised by what fails here."""


async def fail(name: str = "boom") -> None:
    raise BoomError(name)


async def hang() -> None:
    await asyncio.Event().wait()


async def end() -> None:
    """End at once."""


async def test_the_first_failure_is_the_reason() -> None:
    """Failures that come later do not replace the first."""
    work = Supervisor()
    work.start("first", fail("first"))
    work.start("second", fail("second"))
    with pytest.raises(BoomError, match="first"):
        await work.failure()
    with pytest.raises(BoomError, match="first"):
        await work.failure()


async def test_the_first_failure_is_announced_at_once() -> None:
    """The announcement comes once, before it is logged, and before its reader has a turn: what hangs from then on has a
    deadline.
    """
    announced: list[str] = []
    work = Supervisor(on_failure=lambda: announced.append("now"))
    work.fail("here", BoomError("first"))
    assert ["now"] == announced
    work.fail("there", BoomError("second"))

    assert ["now"] == announced


async def test_what_ends_or_is_cancelled_is_no_failure() -> None:
    """The process goes on; stopping cancels what is still running, and waits for it."""
    work = Supervisor()
    ended, cancelled, running = (work.start(name, each) for name, each in (("a", end()), ("b", hang()), ("c", hang())))
    cancelled.cancel()
    failing = asyncio.create_task(work.failure())
    await asyncio.wait([ended, cancelled])
    await asyncio.sleep(0)
    assert not failing.done()
    await work.stop()

    assert running.cancelled()
    failing.cancel()


async def test_a_task_that_a_test_wants_to_fail_does() -> None:
    """The task may fail while its work goes on; no other may."""
    work = Supervisor(fail_at="wanted")
    other = work.start("other", hang())
    work.start("wanted", hang())
    with pytest.raises(RuntimeError, match="wanted fails"):
        await work.failure()

    assert not other.done()
    await work.stop()


async def test_a_callback_of_ours_that_raises_ends_the_process() -> None:
    """The next step of the callback never happens. The loop calls it, like every callback."""
    loop = asyncio.get_running_loop()
    work = Supervisor()
    loop.set_exception_handler(work.hear_loop)
    try:
        loop.call_soon(partial(supervisor._is_ours, None))  # type: ignore[arg-type]  # ours, and it raises  # noqa: SLF001
        with pytest.raises(AttributeError):
            await work.failure()
    finally:
        loop.set_exception_handler(None)


@pytest.mark.parametrize("library", [True, False], ids=["a library's callback", "no exception"])
async def test_what_concerns_one_connection_is_logged(library: bool) -> None:
    """The process goes on."""
    work = Supervisor()
    loop = asyncio.get_running_loop()
    context: dict[str, object] = {"message": "a connection was lost"}
    if library:
        try:
            contextlib.ExitStack().enter_context(None)  # type: ignore[arg-type]  # raises inside the library
        except TypeError as error:
            context |= {"exception": error.with_traceback(error.__traceback__.tb_next), "handle": None}  # type: ignore[union-attr]
    work.hear_loop(loop, context)
    failing = asyncio.create_task(work.failure())
    await asyncio.sleep(0)

    assert not failing.done()
    failing.cancel()


# run_together: what a consume loop is made of.


async def test_one_that_fails_ends_all() -> None:
    """The exception of the one that fails is raised when the others have ended."""
    ended = []

    async def work() -> None:
        try:
            await hang()
        finally:
            await asyncio.sleep(0)
            ended.append("work")

    with pytest.raises(BoomError):
        await run_together(asyncio.Event(), work=work(), failing=fail())

    assert ["work"] == ended


async def test_a_task_of_the_loop_that_a_test_wants_to_fail_does() -> None:
    """Any task may be chosen, so that all of them can be tried on a real process."""
    with pytest.raises(RuntimeError, match="fails, as HOOKLINE_PROCESS_FAIL_AT wants it"):
        await Supervisor(fail_at="b").run_together(asyncio.Event(), a=hang(), b=hang())


async def test_one_that_ends_ends_all() -> None:
    """A consumer that returned has nothing more to say: the loop is over."""
    await run_together(asyncio.Event(), ending=end(), hanging=hang())


async def test_asked_to_stop_it_stops() -> None:
    """The supervisor stops without an exception."""
    stopping = asyncio.Event()
    running = asyncio.create_task(run_together(stopping, a=hang(), b=hang()))
    stopping.set()
    await running


async def test_a_failure_while_being_cancelled_is_not_lost() -> None:
    """The failure may be why the stop does not end as it should."""

    async def fail_at_the_end() -> None:
        try:
            await hang()
        finally:
            raise BoomError

    stopping = asyncio.Event()
    running = asyncio.create_task(run_together(stopping, a=fail_at_the_end(), b=hang()))
    await asyncio.sleep(0)
    stopping.set()
    with pytest.raises(BoomError):
        await running


async def test_one_that_is_cancelled_from_inside_counts_as_failed() -> None:
    """A library that cancels what it runs leaves nothing that works."""

    async def cancel_itself() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await run_together(asyncio.Event(), a=cancel_itself(), b=hang())


# run_beside: one result, and work that has to go on until it is there.


async def test_background_work_ends_with_the_main_work() -> None:
    """The result is returned when the background work has ended."""
    ended = []

    async def background() -> None:
        try:
            await hang()
        finally:
            await asyncio.sleep(0)
            ended.append("background")

    async def compute() -> int:
        await asyncio.sleep(0)
        return 7

    assert 7 == await run_beside(background(), compute())
    assert ["background"] == ended


@pytest.mark.parametrize("which", ["background", "main"])
async def test_a_failure_of_either_ends_both(which: str) -> None:
    """The failure is raised as it is, not inside a group."""
    works = (fail(which), hang()) if which == "background" else (hang(), fail(which))
    with pytest.raises(BoomError, match=which):
        await run_beside(*works)


async def test_what_swallows_a_cancellation_is_cancelled_again() -> None:
    """A task that never ends is named when the time is up."""
    swallowed = 0

    async def swallow(times: int) -> None:
        nonlocal swallowed
        for _ in range(times):
            with contextlib.suppress(asyncio.CancelledError):
                await hang()
                raise AssertionError
            swallowed += 1

    twice = asyncio.create_task(swallow(2), name="twice")
    await asyncio.sleep(0)
    left = await cancel_leftovers(within_s=5.0)
    for_ever = asyncio.create_task(swallow(3), name="stubborn")
    await asyncio.sleep(0)
    named = await cancel_leftovers(within_s=-1.0)

    assert ([], True, ["stubborn"]) == (left, twice.done(), named)
    assert swallowed >= 2
    await cancel_leftovers(within_s=5.0)
    assert for_ever.done()
