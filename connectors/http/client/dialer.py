"""Origins become connections: check, resolve, check again, dial exactly the checked address, shake hands."""

import asyncio
import errno
import os
import resource
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import structlog

from connectors.http.client.connection import Connection, describe_tls_error
from connectors.http.client.exchange import Certificate, ErrorClass
from connectors.http.client.lookup import Lookup
from connectors.http.client.origin import Origin
from connectors.http.client.proxy import ProxyError, open_tunnel
from connectors.http.client.racing import Connect, RaceError, Remembered, order, race
from connectors.http.client.resolver import ForbiddenAddressError, NameNotFoundError, ResolveError, Resolver
from connectors.http.client.shortage import ShortageError, find_shortage
from connectors.http.client.tls import TlsContexts
from pipeline.config import DeliverConfig
from pipeline.core.network.addresses import AddressRules, parse_networks
from pipeline.core.network.destination import UNREACHABLE, DestinationRules, bracket
from pipeline.core.network.ports import PortRules, parse_ports
from pipeline.core.network.proxy import Proxy, parse_proxy
from pipeline.endpoint_tls import TlsIdentityError

# Bytes that a hostile endpoint may push into the kernel before the client reads them.
RECEIVE_BUFFER_BYTES = 64 * 1024

# of the files this process may have open, so many are not for connections to endpoints
FILES_KEPT_MAX = 64
FILES_KEPT_SHARE = 4
EGRESS_PROXY = "egress proxy"  # it is ours: while it is not there no endpoint has failed

log = structlog.get_logger()


class DialError(Exception):
    """Connecting failed."""

    def __init__(self, error_class: ErrorClass, detail: str) -> None:
        super().__init__(detail)
        self.error_class = error_class
        self.detail = detail


class Dialer:
    """Makes connections. Which ones are permitted is settled by the settings, for the life of the process."""

    def __init__(self, config: DeliverConfig, *, lookup: Lookup, connect: Connect, tls: TlsContexts) -> None:
        self._config = config
        self._rules = read_rules(config)
        self._resolver = Resolver(self._rules.addresses, lookup=lookup, lookups_max=config.lookups_max)
        self._connect = connect
        self._tls = tls
        self._worked = Remembered()
        url = config.egress_proxy_url
        self._proxy = parse_proxy(url.get_secret_value()) if url is not None else None

    async def dial(self, origin: Origin, timings_us: dict[str, int], *, owner: str, timeout_s: float) -> Connection:
        """A connection to the origin, within the time-out for the name, and once more for all the rest.

        `owner`: the application that needs it. Raises `DialError`, and `ShortageError` for what this process lacks.
        """
        problem = self._rules.find_problem(is_tls=origin.is_tls, host=origin.host, port=origin.port)
        if problem is not None:
            raise DialError(ErrorClass.INVALID_TARGET, problem)
        with _timed(timings_us, "dns"):
            addresses = await self._resolve(origin, owner, timeout_s)
        try:
            async with asyncio.timeout(timeout_s):
                with _timed(timings_us, "connect"):
                    sock = await self._open(origin, addresses, timeout_s)
                with _timed(timings_us, "tls"):
                    return await self._start(sock, origin)
        except TimeoutError as error:
            what = "TLS handshake" if "connect" in timings_us else "connection"
            raise DialError(ErrorClass.CONNECTION, f"no {what} within {timeout_s:g} s") from error

    def close(self) -> None:
        self._resolver.close()

    async def _resolve(self, origin: Origin, owner: str, timeout_s: float) -> tuple[str, ...]:
        try:
            async with asyncio.timeout(timeout_s):
                if self._proxy is not None:
                    return await self._resolver.find(self._proxy.host, owner=EGRESS_PROXY)
                return await self._resolver.resolve(origin.host, owner=owner)
        except (ForbiddenAddressError, NameNotFoundError) as error:
            if self._proxy is not None:
                raise ShortageError(EGRESS_PROXY) from error
            raise DialError(ErrorClass.INVALID_TARGET, UNREACHABLE) from error
        except TimeoutError as error:
            shortage = None if self._proxy is not None else self._resolver.find_shortage(origin.host, owner=owner)
            if shortage is not None:
                raise ShortageError(shortage) from error
            raise DialError(ErrorClass.DNS, "the host's name could not be resolved at this time") from error
        except ResolveError as error:
            raise DialError(ErrorClass.DNS, "the host's name could not be resolved at this time") from error

    async def _open(self, origin: Origin, addresses: tuple[str, ...], timeout_s: float) -> socket.socket:
        """A socket that leads to the origin."""
        if self._proxy is None:
            return await self._dial(origin.host, origin.port, addresses, self._rules.addresses.allows, timeout_s)
        try:
            # the operator chose the proxy's address: it is not checked
            sock = await self._dial(self._proxy.host, self._proxy.port, addresses, lambda _: True, timeout_s)
        except DialError as error:
            raise ShortageError(EGRESS_PROXY) from error
        try:
            await _tunnel(sock, self._proxy, origin)
        except BaseException:
            sock.close()
            raise
        return sock

    async def _dial(
        self, host: str, port: int, addresses: tuple[str, ...], is_allowed: Callable[[str], bool], timeout_s: float
    ) -> socket.socket:
        ordered = order(addresses, self._worked.get((host, port)))
        sock, address = await dial_any(ordered, port, is_allowed=is_allowed, connect=self._connect, timeout_s=timeout_s)
        if len(addresses) > 1:
            self._worked.put((host, port), address)
        return sock

    async def _start(self, sock: socket.socket, origin: Origin) -> Connection:
        loop = asyncio.get_running_loop()
        try:
            if not origin.is_tls:
                _, connection = await loop.create_connection(self._make_connection, sock=sock)
            else:
                transport, connection = await loop.create_connection(
                    self._make_connection,
                    sock=sock,
                    ssl=self._tls.find(origin.identity),
                    server_hostname=origin.host,
                    ssl_handshake_timeout=self._config.total_timeout_s,
                )
                connection.certificate = read_certificate(transport)
        except TlsIdentityError as error:
            sock.close()
            raise DialError(ErrorClass.INVALID_TARGET, str(error)) from error
        except ssl.SSLCertVerificationError as error:
            sock.close()
            detail = f"the endpoint's certificate is not valid: {error.verify_message.lower().rstrip('.')}"
            raise DialError(ErrorClass.CONNECTION, detail) from error
        except (OSError, ValueError) as error:
            sock.close()
            _raise_if_short(error)
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


def read_certificate(transport: asyncio.BaseTransport) -> Certificate:
    """The certificate that the peer has shown."""
    shown = transport.get_extra_info("peercert")
    begins_at_s, expires_at_s = (ssl.cert_time_to_seconds(shown[name]) for name in ("notBefore", "notAfter"))
    return Certificate(begins_at_s * 1_000_000, expires_at_s * 1_000_000)


def read_rules(config: DeliverConfig) -> DestinationRules:
    """The rules that the settings make."""
    return DestinationRules(
        addresses=AddressRules(
            allows_private=config.allow_private_addresses, denied=parse_networks(config.denied_networks)
        ),
        ports=PortRules(allowed=parse_ports(config.allowed_ports), denied=parse_ports(config.denied_ports)),
        allows_plain_http=config.allow_plain_http,
    )


async def dial_any(
    addresses: Sequence[str], port: int, *, is_allowed: Callable[[str], bool], connect: Connect, timeout_s: float
) -> tuple[socket.socket, str]:
    """Dial the addresses, exactly these: nothing is resolved again. Raises `DialError` and `ShortageError`.

    `is_allowed` is asked right before, whatever was asked before: one that is not allowed, and nothing is dialled.
    """
    if not all(is_allowed(address) for address in addresses):
        raise DialError(ErrorClass.INVALID_TARGET, UNREACHABLE)
    try:
        return await race(addresses, port, connect=connect, timeout_s=timeout_s)
    except RaceError as error:
        for each in error.errors:
            _raise_if_short(each, addresses[0], port)  # had we had it, that one might have answered
        refused = error.errors[-1] if error.errors else None
        raise DialError(ErrorClass.CONNECTION, f"could not connect: {_describe(refused)}") from error


async def connect_socket(address: str, port: int) -> socket.socket:
    """Connect to an address; names are not resolved here."""
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    try:
        keep_headroom(sock)
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        await asyncio.get_running_loop().sock_connect(sock, (address, port))
    except BaseException:
        sock.close()
        raise
    return sock


def keep_headroom(sock: socket.socket) -> None:
    """Leave the last files of this process to /health, the log's clients and look-ups. Raises OSError (EMFILE)."""
    files_max = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if files_max == resource.RLIM_INFINITY:
        return
    if sock.fileno() >= files_max - min(FILES_KEPT_MAX, files_max // FILES_KEPT_SHARE):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def has_source_address(address: str, port: int) -> bool:
    """Does this host have an address to speak to that one from? Nothing is sent for the answer."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((address, port))
    except OSError:
        return False
    return True


def _raise_if_short(error: Exception, address: str = "", port: int = 0) -> None:
    kind = find_shortage(error)
    if kind is None or (kind == "ports" and address and not has_source_address(address, port)):
        return  # no IPv6 here, for example, which is answered in the same way as no free port
    raise ShortageError(kind) from error


async def _tunnel(sock: socket.socket, proxy: Proxy, origin: Origin) -> None:
    try:
        await open_tunnel(sock, proxy, f"{bracket(origin.host)}:{origin.port}")
    except ProxyError as error:
        # The proxy's reasons are for the operator: a customer must not learn from them what exists inside.
        log.warning("egress_proxy_refused", host=origin.host, port=origin.port, status=error.status)
        raise DialError(ErrorClass.CONNECTION, "could not connect: the egress proxy opened no tunnel") from error
    except OSError as error:
        _raise_if_short(error)
        raise DialError(ErrorClass.CONNECTION, f"could not connect: the egress proxy: {_describe(error)}") from error


@contextmanager
def _timed(timings_us: dict[str, int], name: str) -> Iterator[None]:
    """Writes down how long it took, if it ends well."""
    started_at_s = time.monotonic()
    yield
    timings_us[name] = round((time.monotonic() - started_at_s) * 1_000_000)


def _describe(error: BaseException | None) -> str:
    if isinstance(error, ssl.SSLError):
        return describe_tls_error(error)
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno).lower()  # the error's own text may name the address
    return type(error).__name__
