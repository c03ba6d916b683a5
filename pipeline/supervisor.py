"""Background work of a process: tasks and callbacks whose failure ends it.

A task that dies unnoticed leaves a process that looks well and does half of its work. Here the first failure is kept,
`process.run` waits for it beside `main`, and the process ends with a reason and a code.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import structlog

Work = Coroutine[Any, Any, object]
Result = TypeVar("Result")
Together = Callable[..., Awaitable[None]]  # `run_together`, or a supervisor's

OURS = tuple(str(Path(__file__).resolve().parents[1] / package) + "/" for package in ("pipeline", "connectors"))
FAIL_AFTER_S = 0.5
log = structlog.get_logger()


class Supervisor:
    """The background work of one process."""

    def __init__(self, *, fail_at: str | None = None, on_failure: Callable[[], None] = lambda: None) -> None:
        """`fail_at`: the task that fails a moment after its start, as tests of failures want it.

        `on_failure`: called at the first failure, before anything that might hang.
        """
        self._fail_at = fail_at
        self._on_failure = on_failure
        self._failed = asyncio.Event()
        self._error: BaseException | None = None
        self._tasks: set[asyncio.Task[object]] = set()

    def start(self, name: str, work: Work) -> asyncio.Task[object]:
        """Run `work` in the background until it ends. Whatever it raises ends the process."""
        task = asyncio.create_task(work if name != self._fail_at else _fail_during(work, name), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._take_leave)
        return task

    async def run_together(self, stopping: asyncio.Event, **works: Work) -> None:
        """See the function of this name."""
        chosen = {name: work if name != self._fail_at else _fail_during(work, name) for name, work in works.items()}
        await run_together(stopping, **chosen)

    def fail(self, where: str, error: BaseException) -> None:
        """End the process: `error` was raised where nothing awaits it."""
        if self._error is None:
            self._on_failure()
            log.error("background_failed", where=where, exc_info=error)
            self._error = error
            self._failed.set()

    async def failure(self) -> None:
        """Wait for the first failure, and raise it."""
        await self._failed.wait()
        if self._error is not None:
            raise self._error

    async def stop(self) -> None:
        """Cancel what is still running, and wait for it."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def hear_loop(self, loop: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
        """The loop's exception handler: what is raised where nothing awaits it.

        A callback of our own code that raises ends the process: what it had to do next never happens. What concerns one
        connection or one look-up (a library's protocol, a task whose waiters are gone) is logged.
        """
        error, message = context.get("exception"), context.get("message", "")
        if isinstance(error, BaseException) and "handle" in context and _is_ours(error):
            self.fail(message, error)
        elif isinstance(error, Exception):
            log.error("loop_error", where=message, exc_info=error)
        else:
            log.error("loop_error", where=message)

    def _take_leave(self, task: asyncio.Task[object]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.fail(task.get_name(), error)


async def _fail_during(work: Work, name: str) -> None:
    task = asyncio.ensure_future(work)
    await asyncio.wait([task], timeout=FAIL_AFTER_S)
    if not task.cancel():
        await task
    # not awaited: a library in which it waits may swallow the cancellation
    raise RuntimeError(f"{name} fails, as HOOKLINE_PROCESS_FAIL_AT wants it")


async def run_together(stopping: asyncio.Event, **works: Work) -> None:
    """Run `works` until one of them ends or `stopping` is set, then cancel the others and wait for them.

    Raises what the first one raised that failed. One that is cancelled from inside counts as failed.
    """
    tasks = [asyncio.create_task(work, name=name) for name, work in works.items()]
    asked = asyncio.create_task(stopping.wait(), name="stopping")
    try:
        done, _ = await asyncio.wait([*tasks, asked], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (*tasks, asked):
            task.cancel()
    await asyncio.wait([*tasks, asked])
    for task in tasks:
        if task in done:
            task.result()
    for task in tasks:
        # one that failed while it was being cancelled
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error


async def run_beside(background: Work, main: Coroutine[Any, Any, Result]) -> Result:
    """Run `main`, and `background` for as long. The failure of either cancels the other one and is raised as it is."""
    with first_failure():
        async with asyncio.TaskGroup() as tasks:
            beside = tasks.create_task(background)
            result = await main
            beside.cancel()
    return result


@contextmanager
def first_failure() -> Iterator[None]:
    """A context manager around a task group: raises the first failure itself instead of an exception group."""
    try:
        yield
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None


async def cancel_leftovers(*, within_s: float) -> list[str]:
    """Cancel every other task of this loop, again and again: some libraries swallow a cancellation.

    (A worker of psycopg's pool that is cancelled while it connects goes back to waiting for work, and asyncio's own end
    of a loop, which cancels once, then waits for it for ever.) The names of those that would not end.
    """
    deadline_s = asyncio.get_running_loop().time() + within_s
    while left := asyncio.all_tasks() - {asyncio.current_task()}:
        if asyncio.get_running_loop().time() > deadline_s:
            return sorted(task.get_name() for task in left)
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=0.1)
    return []


def _is_ours(error: BaseException) -> bool:
    """Was the callback one of our functions that the loop called?"""
    at: TracebackType | None = error.__traceback__
    while at is not None:
        path = at.tb_frame.f_code.co_filename
        if path.startswith("/") and "/uvloop/" not in path and "/asyncio/" not in path:
            return path.startswith(OURS)
        at = at.tb_next
    return False


def take_notice(done: "asyncio.Future[Any]") -> None:
    """Retrieve the exception of a future: all that wait for it may have gone, and then no other code would."""
    if not done.cancelled():
        done.exception()
