"""How a process ends: in order while it can, hard at a deadline, whatever hangs.

A thread takes signals, so that they are heard while the event loop is busy or stuck. A second
thread holds the deadline. When that is over it logs what is still running and ends the process; should even that not
be possible, because some library keeps the interpreter's lock, faulthandler ends it two seconds later.
"""

import asyncio
import contextlib
import faulthandler
import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import NoReturn

import structlog

SIGNALS = frozenset({signal.SIGINT, signal.SIGTERM})
# A log whose reader has stopped must not keep the process alive.
LAST_WORDS_S = 1.0
STACK_FRAMES = 3
LISTED_MAX = 20


class Ending:
    """The end of one process. `listen` first; `expect_end` sets the deadline."""

    def __init__(self, log: structlog.stdlib.BoundLogger) -> None:
        self._log = log
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: Callable[[str], None] = lambda _: None
        self._stop_timeout_s = 0.0
        self._reason: str | None = None  # of the first request to stop
        self._changed = threading.Condition()
        self._deadline_s: float | None = None
        self._code = 1
        self._why = ""

    def listen(self, *, stop_timeout_s: float) -> None:
        """Take signals from now on, before there is a loop. `stop_timeout_s`: from a signal to the hard end."""
        self._stop_timeout_s = stop_timeout_s
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        for name, target in (("signals", self._take_signals), ("deadline", self._hold_deadline)):
            threading.Thread(target=target, name=name, daemon=True).start()

    def attach(self, loop: asyncio.AbstractEventLoop, stop: Callable[[str], None]) -> None:
        """Call `stop` on `loop` with the reason once this process is to stop, at once when it has been asked to."""
        with self._changed:
            self._loop, self._stop = loop, stop
            reason = self._reason
        if reason is not None:
            stop(reason)

    def ask_to_stop(self, reason: str) -> None:
        """Begin an orderly stop. May be called in any thread."""
        with self._changed:
            is_first, loop = self._reason is None, self._loop
            self._reason = self._reason or reason
        if not is_first:
            return
        self.expect_end(self._stop_timeout_s, code=1, why=f"stopping ({reason}) took too long")
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._stop, reason)

    def expect_end(self, within_s: float, *, code: int, why: str) -> None:
        """End hard with `code` after `within_s`, unless the process has ended by then. The earliest deadline holds."""
        with self._changed:
            deadline_s = time.monotonic() + within_s
            if self._deadline_s is not None and self._deadline_s < deadline_s:
                return
            self._deadline_s, self._code, self._why = deadline_s, code, why
            faulthandler.dump_traceback_later(within_s + 2 * LAST_WORDS_S, exit=True)
            self._changed.notify()

    def watch_parent(self, fd: int) -> None:
        """Stop when the other end of this pipe is closed: the parent is gone, even by kill -9."""
        threading.Thread(target=self._watch_parent, args=(fd,), name="parent-watch", daemon=True).start()

    # In their threads.

    def _watch_parent(self, fd: int) -> None:
        os.set_blocking(fd, True)
        while os.read(fd, 1024):
            pass
        self.ask_to_stop("the parent process is gone")

    def _take_signals(self) -> None:
        while True:
            name = signal.Signals(signal.sigwait(SIGNALS)).name
            with self._changed:
                is_first = self._reason is None
            if not is_first:
                self._end("stopping_at_once", 130, reason=f"{name} a second time")
            self.ask_to_stop(name)

    def _hold_deadline(self) -> None:
        with self._changed:
            while self._deadline_s is None or (left_s := self._deadline_s - time.monotonic()) > 0:
                self._changed.wait(None if self._deadline_s is None else left_s)
        self._end(
            "ended_hard", self._code, reason=self._why, tasks=_describe_tasks(self._loop), threads=_describe_threads()
        )

    def _end(self, action: str, code: int, **facts: object) -> None:
        """Log and leave, without anything that might hang."""
        saying = threading.Thread(target=self._log.error, args=(action,), kwargs=facts, daemon=True)
        saying.start()
        saying.join(LAST_WORDS_S)
        os._exit(code)


def leave(code: int) -> NoReturn:
    """End the process with this exit code, now that everything is closed.

    The interpreter would take its modules apart first, and destroy librdkafka's clients with them, which wait for their
    threads: seconds on a busy machine, beyond the deadline of a process that had ended well.
    """
    with contextlib.suppress(OSError, ValueError):  # a pipe without a reader, or a closed one
        sys.stdout.flush()
        sys.stderr.flush()
        logging.shutdown()
    os._exit(code)


def _describe_tasks(loop: asyncio.AbstractEventLoop | None) -> list[str]:
    """Where each task of the loop is. From another thread, so that the set may change meanwhile."""
    if loop is None:
        return []
    try:
        tasks = sorted(asyncio.all_tasks(loop), key=lambda task: task.get_name())
        return [
            f"{task.get_name()}: {frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_name}"
            for task in tasks[:LISTED_MAX]
            for frame in task.get_stack(limit=1)
        ]
    except RuntimeError as error:
        return [f"unknown: {error}"]


def _describe_threads() -> list[str]:
    """Where each thread is, innermost call last."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    return [
        f"{names.get(ident, ident)}: " + " < ".join(f"{at.filename}:{at.lineno} {at.name}" for at in reversed(stack))
        for ident, frame in list(sys._current_frames().items())[:LISTED_MAX]  # noqa: SLF001 - documented; nothing else has them
        if ident != threading.get_ident()
        for stack in [traceback.extract_stack(frame)[-STACK_FRAMES:]]
    ]
