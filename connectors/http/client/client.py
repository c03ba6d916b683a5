"""Sending requests: over a kept connection or a new one, and never longer than the deadline.

Nothing of the environment takes part: no proxy variables, no cookies, no redirects, no netrc, no unpacking of bodies.
"""

import asyncio
import time
from dataclasses import dataclass, field, replace

from connectors.http.client.connection import Connection
from connectors.http.client.dialer import Dialer, DialError, connect_socket
from connectors.http.client.exchange import Answer, Certificate, ErrorClass, Failure, Request, Result
from connectors.http.client.lookup import Lookup, look_up
from connectors.http.client.pool import Pool
from connectors.http.client.racing import Connect
from connectors.http.client.shortage import ShortageError
from connectors.http.client.tls import TlsContexts
from pipeline.config import DeliverConfig


@dataclass(slots=True)
class Use:
    """What one request uses on its way, for cleaning up behind it."""

    connection: Connection | None = None
    timings_us: dict[str, int] = field(default_factory=dict)
    certificate: Certificate | None = None


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
        using = Use()
        timeout_s = request.total_timeout_s or self._config.total_timeout_s
        started_at_s = time.monotonic()
        result: Result | None
        try:
            async with asyncio.timeout(timeout_s):
                result = await self._exchange(request, using)
        except TimeoutError:
            result = self._give_up(using, f"no whole answer within {timeout_s:g} s")
        except DialError as error:
            result = Failure(error_class=error.error_class, detail=error.detail)
        except ShortageError as error:
            self._pool.shed()
            result = Failure(error_class=ErrorClass.LOCAL, detail=error.kind)
        except BaseException:
            if using.connection is not None:
                using.connection.close()
            raise
        if using.connection is not None:
            if using.connection.first_byte_at_s:
                using.timings_us["first_byte"] = round((using.connection.first_byte_at_s - started_at_s) * 1_000_000)
            self._pool.put(request.origin, using.connection)
        using.timings_us["total"] = round((time.monotonic() - started_at_s) * 1_000_000)
        return replace(result, timings_us=using.timings_us, certificate=using.certificate)

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

    async def _exchange(self, request: Request, using: Use) -> Result:
        using.connection = self._pool.take(request.origin)
        if using.connection is None:
            timeout_s = request.connect_timeout_s or self._config.connect_timeout_s
            using.connection = await self._dialer.dial(request.origin, using.timings_us, timeout_s=timeout_s)
            using.certificate = using.connection.certificate
        return await using.connection.send(request)

    def _give_up(self, using: Use, detail: str) -> Answer | Failure:
        answer = using.connection.give_up(detail) if using.connection is not None else None
        return answer or Failure(error_class=ErrorClass.TIMEOUT, detail=detail)
