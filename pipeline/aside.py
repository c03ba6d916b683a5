"""Calls that block, made in a thread of their own, one after the other, while the caller goes on."""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


class Aside:
    """Calls in a thread that unlike an executor's does not delay the process' end.

    It begins at once: later, in the middle of the work, there may be no memory for another thread.
    """

    def __init__(self, name: str) -> None:
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def call(self, function: Callable[[], T]) -> "Future[T]":
        """Call a function in the thread; returns the future of its result. A call cancelled in time is not begun."""
        future: Future[T] = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = function()
            except BaseException as error:  # the caller's, who asks for the result
                future.set_exception(error)
            else:
                future.set_result(result)

        self._calls.put(run)
        return future

    def close(self) -> None:
        """Does not wait: the thread ends with the calls made so far."""
        self._calls.put(None)

    def _run(self) -> None:
        while (run := self._calls.get()) is not None:
            run()
