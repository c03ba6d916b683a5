"""From a host name to the addresses that may be dialled. Only what is returned here is ever connected to."""

import asyncio
import socket
import time
from collections import OrderedDict
from dataclasses import dataclass
from ipaddress import ip_address

from pipeline.core.addresses import is_local_name, is_public

ADDRESSES_MAX = 16
CACHE_MAX = 10_000
FOUND_TTL_S = 30.0
MISSING_TTL_S = 5.0


class ForbiddenAddressError(Exception):
    """The host has an address that endpoints must not have."""


class NameNotFoundError(Exception):
    """The host has no address."""


class ResolveError(Exception):
    """The resolver did not answer; another time it may."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One look-up, remembered."""

    addresses: tuple[str, ...]
    expires_at_s: float


class Resolver:
    """Resolves names, with a short memory. `allow_private`: skip the check, for trying and testing."""

    def __init__(self, *, allow_private: bool, timeout_s: float) -> None:
        self._allow_private = allow_private
        self._timeout_s = timeout_s
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self._asking: dict[str, asyncio.Task[tuple[str, ...]]] = {}

    async def resolve(self, host: str) -> tuple[str, ...]:
        """Addresses to be dialled, all of them allowed, IPv4 first as the system sorts them.

        Raises `ForbiddenAddressError` if any address of the host is not public, `NameNotFoundError`, `ResolveError`.
        """
        if not self._allow_private and is_local_name(host):
            raise ForbiddenAddressError
        addresses = await self._find(host)
        if not addresses:
            raise NameNotFoundError
        if not self._allow_private and not all(is_public(address) for address in addresses):
            raise ForbiddenAddressError
        return addresses[:ADDRESSES_MAX]

    async def _find(self, host: str) -> tuple[str, ...]:
        try:
            return (str(ip_address(host)),)
        except ValueError:
            pass  # a name; forms such as 0x7f.1 are addresses to the system's resolver, and checked like all it finds
        entry = self._entries.get(host)
        if entry is not None and entry.expires_at_s > time.monotonic():
            return entry.addresses
        asking = self._asking.get(host)
        if asking is None:
            asking = self._asking[host] = asyncio.create_task(self._ask(host))
            asking.add_done_callback(lambda _: self._asking.pop(host, None))
        # others wait for the same answer: one of them giving up must not cancel it
        return await asyncio.shield(asking)

    async def _ask(self, host: str) -> tuple[str, ...]:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timeout_s):
                found = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except TimeoutError as error:
            raise ResolveError from error
        except socket.gaierror as error:
            if error.errno in (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)):
                return self._remember(host, (), MISSING_TTL_S)
            raise ResolveError from error
        except (OSError, UnicodeError) as error:
            raise ResolveError from error
        addresses = tuple(dict.fromkeys(str(entry[4][0]) for entry in found))
        return self._remember(host, addresses, FOUND_TTL_S)

    def _remember(self, host: str, addresses: tuple[str, ...], ttl_s: float) -> tuple[str, ...]:
        self._entries[host] = Entry(addresses, time.monotonic() + ttl_s)
        while len(self._entries) > CACHE_MAX:
            self._entries.popitem(last=False)
        return addresses
