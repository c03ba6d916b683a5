"""Two clients: one for endpoints that the system's authorities vouch for, one for those with certificates of their own.

An owner chooses what a handshake with an endpoint of the second kind costs: long chains of keys with large exponents, a
key of ours of 16,384 bits. Each took a quarter of a second of the process, 350 times of what others take. So the second
client has an event loop in a thread of its own, where OpenSSL computes beside everything else.
"""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import uvloop

from connectors.http.client.client import HttpClient
from connectors.http.client.exchange import Request, Result


class DividedClient:
    """One per process. Made, used and closed on one loop; the thread begins with the first request that needs it."""

    def __init__(self, make: Callable[[], HttpClient]) -> None:
        self._make = make
        self._main = make()
        self._aside: HttpClient | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def send(self, request: Request) -> Result:
        """See `HttpClient.send`. Raises RuntimeError when the system has no thread for the second client."""
        if request.origin.identity is None:
            return await self._main.send(request)
        if self._aside is None or self._loop is None:
            self._aside, self._loop = self._make(), self._start()
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._aside.send(request), self._loop))

    def sweep(self) -> None:
        """See `HttpClient.sweep`."""
        self._main.sweep()
        if self._aside is not None and self._loop is not None:
            self._loop.call_soon_threadsafe(self._aside.sweep)

    def close(self) -> None:
        """See `HttpClient.close`. The thread ends by itself."""
        self._main.close()
        if self._aside is not None and self._loop is not None:
            self._loop.call_soon_threadsafe(self._aside.close)
            self._loop.call_soon_threadsafe(self._loop.stop)

    def _start(self) -> asyncio.AbstractEventLoop:
        main, loop = asyncio.get_running_loop(), uvloop.new_event_loop()

        def fail(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
            # as if it had happened on the loop of the process, which ends then
            main.call_soon_threadsafe(main.call_exception_handler, context)

        loop.set_exception_handler(fail)
        try:
            threading.Thread(target=self._run, args=(loop,), name="own certificates", daemon=True).start()
        except RuntimeError:
            loop.close()
            raise
        return loop

    @staticmethod
    def _run(loop: asyncio.AbstractEventLoop) -> None:
        try:
            loop.run_forever()
        finally:
            loop.close()
