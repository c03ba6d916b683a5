"""An embedded service below `hookline up`: the same to the keeper as one of our own processes."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Protocol, TypeVar

T = TypeVar("T")

LOOK_INTERVAL_S = 0.2
# A download that stands still, for example: we leave, and its guard ends it.
ABANDON_AFTER_S = 15.0
_SIGNALLED = 128  # added to the signal's number by the guard, as a shell does


class Running(Protocol):
    """What an embedded service is once it runs."""

    @property
    def pid(self) -> int: ...
    def is_alive(self) -> bool: ...
    def stop(self, timeout_s: float = ...) -> None: ...
    @property
    def guarded(self) -> "Guarded": ...


class Guarded(Protocol):
    """Its guard."""

    @property
    def guard(self) -> "Ended": ...


class Ended(Protocol):
    """The guard's exit code, which is the program's."""

    @property
    def returncode(self) -> int | None: ...


class Service:
    """`launch` starts it, blocking, always on the same port."""

    def __init__(self, name: str, launch: Callable[[], Running]) -> None:
        self.name = name
        self.number = 1
        self.label = name
        self._launch = launch
        self._starting: asyncio.Future[Running] | None = None
        self._service: Running | None = None

    @property
    def pid(self) -> int:
        assert self._service is not None, f"{self.name} was not started"  # noqa: S101 - the keeper's order
        return self._service.pid

    async def start(self) -> None:
        """Start it, and wait until it is ready. Raises `EmbeddedError`."""
        self._starting = run_in_thread(self._launch)
        # whoever waits may be cancelled; `stop` then waits for what is under way
        self._service = await asyncio.shield(self._starting)
        self._starting = None

    async def wait(self) -> int:
        """Wait for its end; the exit code, or the negative number of the signal it died of."""
        service = self._service
        assert service is not None, f"{self.name} was not started"  # noqa: S101 - the keeper's order
        while service.is_alive():  # noqa: ASYNC110 - nobody tells us of it
            await asyncio.sleep(LOOK_INTERVAL_S)
        await run_in_thread(lambda: service.stop(ABANDON_AFTER_S))  # lets go of what is left of it
        code = service.guarded.guard.returncode or 0
        return _SIGNALLED - code if code > _SIGNALLED else code

    async def stop(self, timeout_s: float) -> bool:
        """Stop it in order, by force after `timeout_s`; did it end in order?"""
        if self._starting is not None:
            with contextlib.suppress(Exception):  # it is not needed any more, whatever went wrong
                async with asyncio.timeout(ABANDON_AFTER_S):
                    self._service = await asyncio.shield(self._starting)
        service = self._service
        if service is not None:
            await run_in_thread(lambda: service.stop(timeout_s))
        return True

    def kill(self) -> None:
        """Nothing to do: when we are gone its guard stops it."""

    def read_refusal(self) -> str:
        """Services say it when they are started."""
        return ""


def run_in_thread(work: Callable[[], T]) -> "asyncio.Future[T]":
    """Run blocking `work` in a daemon thread: unlike with an executor, leaving the program does not wait for it."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.cancelled():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]  # what `work` returned

    def run() -> None:
        result: T | None = None
        error: BaseException | None = None
        try:
            result = work()
        except Exception as caught:
            error = caught
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, daemon=True).start()
    return future
