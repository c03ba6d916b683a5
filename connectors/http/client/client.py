"""Sending requests: over a kept connection or a new one, and never longer than the deadline.

Nothing of the environment takes part: no proxy variables, no cookies, no redirects, no netrc, no unpacking of bodies.
"""

import asyncio
import time
from collections.abc import Awaitable

import msgspec

from connectors.http.client.connection import Connection
from connectors.http.client.dialer import Dialer, DialError, connect_socket
from connectors.http.client.exchange import Certificate, ErrorClass, Failure, Request, Result
from connectors.http.client.lookup import Lookup, look_up
from connectors.http.client.pool import Pool
from connectors.http.client.racing import Connect
from connectors.http.client.shortage import ShortageError
from connectors.http.client.tls import TlsContexts
from pipeline.config import DeliverConfig


class HttpClient:
    """One per process. `lookup` and `connect` are all that it reaches the world by."""

    def __init__(
        self,
        config: DeliverConfig,
        *,
        lookup: Lookup = look_up,
        connect: Connect = connect_socket,
        tls: TlsContexts | None = None,
    ) -> None:
        self._config = config
        self._dialer = Dialer(config, lookup=lookup, connect=connect, tls=tls or TlsContexts())
        self._pool = Pool(idle_max=config.idle_connections_max)

    async def send(self, request: Request) -> Result:
        """Send one request and read its answer. Ends within the total time-out; raises unforeseen exceptions only.

        A request is sent once at most: an endpoint that closed its connection may have read it.
        """
        timings_us: dict[str, int] = {}
        timeout_s = request.total_timeout_s or self._config.total_timeout_s
        started_at_s = time.monotonic()
        certificate: Certificate | None = None
        connection = self._pool.take(request.origin)
        result: Result
        try:
            if connection is None:
                async with asyncio.timeout(timeout_s):
                    connection = await self._dial(request, timings_us)
                certificate = connection.certificate
                timeout_s = max(0.0, started_at_s + timeout_s - time.monotonic())
        except TimeoutError:
            result = Failure(error_class=ErrorClass.TIMEOUT, detail=_describe_timeout(request, self._config))
        except DialError as error:
            result = Failure(error_class=error.error_class, detail=error.detail)
        except ShortageError as error:
            self._pool.shed()
            result = Failure(error_class=ErrorClass.LOCAL, detail=error.kind)
        else:
            result = await self._exchange(connection, request, timeout_s)
            if connection.first_byte_at_s:
                timings_us["first_byte"] = round((connection.first_byte_at_s - started_at_s) * 1_000_000)
            self._pool.put(request.origin, connection)
        timings_us["total"] = round((time.monotonic() - started_at_s) * 1_000_000)
        return msgspec.structs.replace(result, timings_us=timings_us, certificate=certificate)

    def sweep(self) -> None:
        """Close connections that have been idle for long; to be called every few seconds."""
        self._pool.sweep()

    def close(self) -> None:
        """Close all idle connections."""
        self._pool.close()
        self._dialer.close()

    @property
    def idle_connections(self) -> int:
        return len(self._pool)

    def _dial(self, request: Request, timings_us: dict[str, int]) -> Awaitable[Connection]:
        timeout_s = request.connect_timeout_s or self._config.connect_timeout_s
        return self._dialer.dial(request.origin, timings_us, owner=request.owner, timeout_s=timeout_s)

    async def _exchange(self, connection: Connection, request: Request, timeout_s: float) -> Result:
        # a timer instead of `asyncio.timeout`, whose time-out is an exception in this task: a fifth of the time
        answered = connection.send(request)
        timer = asyncio.get_running_loop().call_later(
            timeout_s, connection.time_out, _describe_timeout(request, self._config)
        )
        try:
            return await answered
        except BaseException:
            connection.close()
            raise
        finally:
            timer.cancel()


def _describe_timeout(request: Request, config: DeliverConfig) -> str:
    return f"no whole answer within {request.total_timeout_s or config.total_timeout_s:g} s"
