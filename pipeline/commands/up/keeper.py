"""Keeps one process running: starts it again when it ends, and says so."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from pipeline.commands.up.children import EXIT_REFUSED, EXIT_STOPPED
from pipeline.embedded.errors import EmbeddedError
from pipeline.start_error import StartError

Say = Callable[[str], None]  # takes one line for the person who started us

READY_TIMEOUT_S = 90.0
LOOK_INTERVAL_S = 0.03

BACKOFF_FIRST_S = 0.2
BACKOFF_LAST_S = 10.0
BACKOFF_OVER_AFTER_S = 30.0


class Backoff:
    """0.2 s, doubling to 10 s; from the start again after it has lived for half a minute."""

    __slots__ = ("_next_s",)

    def __init__(self) -> None:
        self._next_s = BACKOFF_FIRST_S

    def take(self, lived_s: float) -> float:
        """The delay now, for one that lived so long."""
        if lived_s >= BACKOFF_OVER_AFTER_S:
            self._next_s = BACKOFF_FIRST_S
        delay_s = self._next_s
        self._next_s = min(2 * delay_s, BACKOFF_LAST_S)
        return delay_s


class Kept(Protocol):
    """A process as its keeper sees it: `Child` and `Service`."""

    @property
    def name(self) -> str: ...
    @property
    def number(self) -> int: ...
    @property
    def label(self) -> str: ...
    @property
    def pid(self) -> int: ...
    async def start(self) -> None: ...
    async def wait(self) -> int: ...
    async def stop(self, timeout_s: float) -> bool: ...
    def kill(self) -> None: ...
    def read_refusal(self) -> str: ...


class Keeper:
    """Keeps one process running from `start` to `stop`."""

    def __init__(self, kept: Kept, *, run_dir: Path, say: Say) -> None:
        self.kept = kept
        self._pid_file = run_dir / f"{kept.name}.{kept.number}.pid"
        self._say = say
        self._backoff = Backoff()
        self._is_settled = False  # it has been ready once: from then on it is started again, whatever it says
        self._keeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the process. Raises like `kept.start`."""
        await self._start_kept()
        self._keeping = asyncio.create_task(self._keep(), name=f"keep-{self.kept.label}")

    @property
    def keeping(self) -> "asyncio.Task[None]":
        """The task that keeps the process running. It ends only if the first start fails, or the keeper itself."""
        assert self._keeping is not None, f"{self.kept.label} was not started"  # noqa: S101 - the instance's order
        return self._keeping

    def settle(self) -> None:
        """Note that it is ready for the first time."""
        self._is_settled = True

    async def wait_announced(self, read: Callable[[], dict[str, str] | None]) -> dict[str, str]:
        """Wait until the process says where it is. Raises `StartError` when it refuses, or takes too long."""
        deadline_s = time.monotonic() + READY_TIMEOUT_S
        while (announced := read()) is None:
            if self.keeping.done():
                self.keeping.result()  # raises why
            if time.monotonic() > deadline_s:
                raise StartError(f"{self.kept.label} is not ready after {READY_TIMEOUT_S:.0f} s; its log says why")
            await asyncio.sleep(LOOK_INTERVAL_S)
        self.settle()
        return announced

    async def stop(self, timeout_s: float) -> None:
        """Stop keeping, then stop the process."""
        if self._keeping is not None:
            self._keeping.cancel()
            # a failure of keeping it was reported before; the process is stopped all the same
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await self._keeping
        if not await self.kept.stop(timeout_s):
            self._say(f"{self.kept.label} did not stop within {timeout_s:.0f} s and was killed")
        self._pid_file.unlink(missing_ok=True)

    async def _keep(self) -> None:
        while True:
            started_at_s = time.monotonic()
            pid, code = self.kept.pid, await self.kept.wait()
            self._pid_file.unlink(missing_ok=True)  # the system may soon give that pid to another process
            if code == EXIT_REFUSED and not self._is_settled:
                raise StartError(f"{self.kept.name} cannot start: {self.kept.read_refusal()}")
            ended = f"{self.kept.label} (pid {pid}) {_describe_end(code)}"
            if code == EXIT_REFUSED:
                ended += f" ({self.kept.read_refusal()})"
            await self._start_again(ended, self._backoff.take(time.monotonic() - started_at_s))

    async def _start_again(self, ended: str, delay_s: float) -> None:
        while True:
            await asyncio.sleep(delay_s)
            try:
                await self._start_kept()
            except (EmbeddedError, OSError) as error:
                delay_after_s = self._backoff.take(0.0)
                self._say(f"{ended}; it cannot be started again: {error}; next try in {delay_after_s:g} s")
                delay_s = delay_after_s
            else:
                self._say(f"{ended}; started again as pid {self.kept.pid} after {delay_s:g} s")
                return

    async def _start_kept(self) -> None:
        await self.kept.start()
        # written aside and renamed: a reader never sees half a number
        partial = self._pid_file.with_suffix(".partial")
        try:
            partial.write_text(f"{self.kept.pid}\n")
            partial.rename(self._pid_file)
        except OSError as error:  # on a full disk for example; it runs all the same, and must not be started twice
            self._say(f"{self.kept.label} runs as pid {self.kept.pid}; cannot write {self._pid_file}: {error.strerror}")


def _describe_end(code: int) -> str:
    if code < 0:
        return f"died of signal {-code}"
    return "ended by itself" if code == EXIT_STOPPED else f"ended with code {code}"
