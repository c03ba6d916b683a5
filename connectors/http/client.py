"""Sending requests: resolve, check, dial, keep connections, and never take longer than the deadline.

Nothing of the environment takes part: no proxy variables, no cookies, no redirects, no netrc.
"""

import asyncio
import socket
import ssl
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from connectors.http.connection import Connection
from connectors.http.exchange import Answer, ErrorClass, Failure, Request, Result
from connectors.http.origin import Origin
from connectors.http.resolver import ForbiddenAddressError, NameNotFoundError, ResolveError, Resolver
from pipeline.config import DeliverConfig

# Servers close idle connections after 5 s and more. A request that meets the closing is a failed attempt, since nobody
# can tell whether it was read, so connections are given up a little earlier than that.
IDLE_MAX_S = 4.0
# Many endpoints can share one origin, so this bounds all of them together.
IDLE_PER_ORIGIN_MAX = 1000
DIAL_ADDRESSES_MAX = 3

# One sentence for all that is not public and all that does not exist: the log must not tell who is there.
UNREACHABLE = "the host has no address that deliveries may go to"


class DialError(Exception):
    """There is no connection."""

    def __init__(self, error_class: ErrorClass, detail: str) -> None:
        super().__init__(detail)
        self.error_class = error_class
        self.detail = detail


@dataclass(slots=True)
class Use:
    """What one request uses on its way, for cleaning up behind it."""

    connection: Connection | None = None
    timings_us: dict[str, int] = field(default_factory=dict)


class HttpClient:
    """Keeps connections per origin. One per process."""

    def __init__(self, config: DeliverConfig) -> None:
        self._config = config
        self._resolver = Resolver(allow_private=config.allow_private_addresses, timeout_s=config.connect_timeout_s)
        self._tls = ssl.create_default_context()
        self._tls.minimum_version = ssl.TLSVersion.TLSv1_2
        self._idle: dict[Origin, deque[Connection]] = {}

    async def send(self, request: Request) -> Result:
        """Send one request and read its answer. Never raises but when cancelled; ends within the total time-out."""
        using = Use()
        started_at_s = time.monotonic()
        try:
            async with asyncio.timeout(self._config.total_timeout_s):
                result = await self._exchange(request, using)
        except TimeoutError:
            result = Failure(
                error_class=ErrorClass.TIMEOUT, detail=f"no whole answer within {self._config.total_timeout_s:g} s"
            )
        except DialError as error:
            result = Failure(error_class=error.error_class, detail=error.detail)
        except asyncio.CancelledError:
            self._put_back(request.origin, using.connection, is_whole=False)
            raise
        self._put_back(request.origin, using.connection, is_whole=isinstance(result, Answer))
        first_byte_at_s = using.connection.first_byte_at_s if using.connection is not None else 0.0
        if first_byte_at_s:
            using.timings_us["first_byte"] = round((first_byte_at_s - started_at_s) * 1_000_000)
        using.timings_us["total"] = round((time.monotonic() - started_at_s) * 1_000_000)
        return replace(result, timings_us=using.timings_us)

    def sweep(self) -> None:
        """Close connections that have been idle for long; to be called every few seconds."""
        oldest_s = time.monotonic() - IDLE_MAX_S
        for origin, idle in list(self._idle.items()):
            while idle and (idle[0].idle_since_s < oldest_s or not idle[0].is_reusable):
                idle.popleft().close()
            if not idle:
                del self._idle[origin]

    def close(self) -> None:
        """Close all idle connections."""
        for idle in self._idle.values():
            for connection in idle:
                connection.close()
        self._idle.clear()

    def _reuse(self, origin: Origin) -> Connection | None:
        idle = self._idle.get(origin)
        while idle:
            connection = idle.pop()  # the most recently used one is the most likely to be alive
            if connection.is_reusable and connection.idle_since_s > time.monotonic() - IDLE_MAX_S:
                return connection
            connection.close()
        return None

    async def _exchange(self, request: Request, using: Use) -> Result:
        using.connection = self._reuse(request.origin)
        if using.connection is None:
            using.connection = await self._dial(request.origin, using.timings_us)
        return await using.connection.send(request)

    def _put_back(self, origin: Origin, connection: Connection | None, *, is_whole: bool) -> None:
        if connection is None:
            return
        if not is_whole or not connection.is_reusable:
            connection.close()
            return
        idle = self._idle.setdefault(origin, deque())
        connection.idle_since_s = time.monotonic()
        idle.append(connection)
        if len(idle) > IDLE_PER_ORIGIN_MAX:
            idle.popleft().close()

    async def _dial(self, origin: Origin, timings: dict[str, int]) -> Connection:
        with _timed(timings, "dns"):
            addresses = await self._resolve(origin.host)
        try:
            async with asyncio.timeout(self._config.connect_timeout_s):
                with _timed(timings, "connect"):
                    sock = await _connect_any(addresses, origin.port)
                with _timed(timings, "tls"):
                    return await self._start(sock, origin)
        except TimeoutError as error:
            detail = f"no connection within {self._config.connect_timeout_s:g} s"
            raise DialError(ErrorClass.CONNECTION, detail) from error

    async def _resolve(self, host: str) -> tuple[str, ...]:
        try:
            return await self._resolver.resolve(host)
        except (ForbiddenAddressError, NameNotFoundError) as error:
            raise DialError(ErrorClass.INVALID_TARGET, UNREACHABLE) from error
        except ResolveError as error:
            raise DialError(ErrorClass.DNS, "the host's name could not be resolved at this time") from error

    async def _start(self, sock: socket.socket, origin: Origin) -> Connection:
        loop = asyncio.get_running_loop()
        try:
            if not origin.is_tls:
                _, connection = await loop.create_connection(self._make_connection, sock=sock)
            else:
                _, connection = await loop.create_connection(
                    self._make_connection, sock=sock, ssl=self._tls, server_hostname=origin.host
                )
        except ssl.SSLCertVerificationError as error:
            sock.close()
            raise DialError(ErrorClass.CONNECTION, f"the certificate is not valid: {error.verify_message}") from error
        except (OSError, ValueError) as error:
            sock.close()
            raise DialError(ErrorClass.CONNECTION, f"TLS failed: {_describe(error)}") from error
        except BaseException:
            sock.close()
            raise
        return connection

    def _make_connection(self) -> Connection:
        return Connection(
            head_max_bytes=self._config.response_headers_max_bytes,
            body_max_bytes=self._config.response_body_max_bytes,
        )


@contextmanager
def _timed(timings: dict[str, int], name: str) -> Iterator[None]:
    started_at_s = time.monotonic()
    yield
    timings[name] = round((time.monotonic() - started_at_s) * 1_000_000)


async def _connect_any(addresses: tuple[str, ...], port: int) -> socket.socket:
    """Dial the addresses in turn; exactly these, nothing is resolved again."""
    loop = asyncio.get_running_loop()
    refused: OSError | None = None
    for address in addresses[:DIAL_ADDRESSES_MAX]:
        sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            await loop.sock_connect(sock, (address, port))
        except OSError as error:
            sock.close()
            refused = error
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise DialError(ErrorClass.CONNECTION, f"could not connect: {_describe(refused)}")


def _describe(error: BaseException | None) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()
