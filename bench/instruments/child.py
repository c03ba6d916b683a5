"""A child process of a benchmark, seen from its parent: commands go to it, its last line is kept."""

import asyncio
import contextlib
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from bench.errors import BenchError
from bench.instruments.plan import LINE_MAX_BYTES, Command

STOP_TIMEOUT_S = 10.0
TAIL_BYTES = 2000

MessageT = TypeVar("MessageT", bound=msgspec.Struct)


class BenchChild(Generic[MessageT]):
    """`python -m MODULE PLAN`, which says `kind` again and again. An async context manager."""

    def __init__(self, module: str, plan: Path, kind: type[MessageT], *, log: Path) -> None:
        self._module = module
        self._plan = plan
        self._decode = msgspec.json.Decoder(kind).decode
        self._log = log
        self._process: Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        self._last: MessageT | None = None

    async def __aenter__(self) -> "BenchChild[MessageT]":
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                self._module,
                str(self._plan),
                stdin=PIPE,
                stdout=PIPE,
                stderr=log,
                limit=LINE_MAX_BYTES,
                env=build_environ(),
                start_new_session=True,  # Ctrl-C in the terminal is for us
            )
        self._reading = asyncio.create_task(self._read(self._process))
        # waiters look once more
        self._reading.add_done_callback(lambda _: self._news.set())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        process = self._running()
        assert process.stdin is not None  # noqa: S101 - a pipe was asked for
        process.stdin.close()
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        if self._reading is not None:
            await asyncio.wait([self._reading])
            if self._find_failure() is not None and kind is None:
                raise self._describe_end()

    @property
    def pid(self) -> int:
        return self._running().pid

    @property
    def last(self) -> MessageT:
        """Return its last line. There must be one. Raises `BenchError` when its lines cannot be read."""
        if self._find_failure() is not None:
            raise self._describe_end()
        assert self._last is not None, f"{self._module} has said nothing yet"  # noqa: S101 - `wait_for` comes first
        return self._last

    async def tell(self, command: Command) -> None:
        """Give a command to the child. Raises `BenchError` when the child is gone."""
        process = self._running()
        assert process.stdin is not None  # noqa: S101 - a pipe was asked for
        process.stdin.write(msgspec.json.encode(command) + b"\n")
        try:
            await process.stdin.drain()
        except ConnectionError:
            raise self._describe_end() from None

    async def wait_for(self, is_wanted: Callable[[MessageT], bool], *, timeout_s: float) -> MessageT:
        """Wait until it says something wanted. Raises `BenchError` when it ends before, or takes too long."""
        try:
            async with asyncio.timeout(timeout_s):
                while self._last is None or not is_wanted(self._last):
                    if self._reading is None or self._reading.done():
                        raise self._describe_end()
                    self._news.clear()
                    await self._news.wait()
                return self._last
        except TimeoutError:
            raise BenchError(f"{self._module} did not get there within {timeout_s:g} s: {self._last}") from None

    async def _read(self, process: Process) -> None:
        assert process.stdout is not None  # noqa: S101 - a pipe was asked for
        async for line in process.stdout:
            self._last = self._decode(line)
            self._news.set()
        await process.wait()

    def _find_failure(self) -> BaseException | None:
        reading = self._reading
        return reading.exception() if reading is not None and reading.done() and not reading.cancelled() else None

    def _describe_end(self) -> BenchError:
        if (failure := self._find_failure()) is not None:
            return BenchError(f"{self._module} said what cannot be read: {failure}")
        tail = self._log.read_bytes()[-TAIL_BYTES:].decode(errors="replace").strip()
        return BenchError(f"{self._module} ended with code {self._running().returncode}: {tail}")

    def _running(self) -> Process:
        assert self._process is not None, f"{self._module} was not started"  # noqa: S101 - entered first
        return self._process


def build_environ() -> dict[str, str]:
    """Build a child's environment, in which `pipeline` is the package that runs here, wherever it was started."""
    return {
        **os.environ,
        "PYTHONSAFEPATH": "1",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
