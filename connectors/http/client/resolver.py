"""Host names become addresses that may be dialled. Connections go to addresses returned here and to no others."""

import asyncio
import socket
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from ipaddress import ip_address

from connectors.http.client.lookup import Lookup
from connectors.http.client.lookups import Lookups, LookupsBusyError
from connectors.http.client.shortage import ShortageError, find_shortage
from pipeline.core.network.addresses import AddressRules
from pipeline.supervisor import take_notice

# More than any host has that means to be reached. All of them are looked at, so there must be an end to it.
ADDRESSES_MAX = 64
CACHE_MAX = 10_000
FOUND_TTL_S = 30.0
MISSING_TTL_S = 5.0
# While name servers are silent, or fail, a host is reached where it was found last (RFC 8767).
STALE_AFTER_S = 0.25
STALE_MAX_S = 3600.0
NOT_FOUND = (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME))


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
    found_at_s: float


class Resolver:
    """Resolves names, with a short memory. A remembered answer is checked again at each use.

    Names are looked up as fully qualified, without this machine's search domains (and so without its hosts file). Only
    where private addresses are allowed may a name be that of another machine in this network.
    """

    def __init__(
        self,
        rules: AddressRules,
        *,
        lookup: Lookup,
        lookups_max: int,
        clock: Callable[[], float] = time.monotonic,
        cache_max: int = CACHE_MAX,
    ) -> None:
        self._rules = rules
        self._cache_max = cache_max
        self._clock = clock
        self._lookups = Lookups(lookup, at_once_max=lookups_max)
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self._asking: dict[str, asyncio.Task[tuple[str, ...]]] = {}
        self._waiting: Counter[str] = Counter()  # who cannot go on without the answer

    async def resolve(self, host: str, *, owner: Hashable) -> tuple[str, ...]:
        """Addresses to be dialled, all of them allowed, as the system sorts them. May be cancelled at any time.

        `owner`: the application that needs them; its look-ups share places. Raises `ForbiddenAddressError` if any
        address of the host is not allowed, `NameNotFoundError`, `ResolveError`, `ShortageError`.
        """
        addresses = await self.find(self._complete(host), owner=owner)
        if len(addresses) > ADDRESSES_MAX or not all(self._rules.allows(address) for address in addresses):
            raise ForbiddenAddressError
        return addresses

    async def find(self, name: str, *, owner: Hashable) -> tuple[str, ...]:
        """Addresses of a name or an address, whatever they are. Raises `NameNotFoundError`, `ResolveError`."""
        try:
            return (str(ip_address(name.rstrip("."))),)
        except ValueError:
            pass
        entry = self._entries.get(name)
        if entry is not None and entry.expires_at_s > self._clock():
            addresses = entry.addresses
        elif entry is not None and entry.addresses and self._clock() < entry.found_at_s + STALE_MAX_S:
            addresses = await self._ask_again(name, entry, owner)
        else:
            addresses = await self._wait_for(name, owner)
        if not addresses:
            raise NameNotFoundError
        return addresses

    def find_shortage(self, host: str, *, owner: Hashable) -> str | None:
        """Why the name is not looked up yet, as `Lookups.find_shortage`."""
        return self._lookups.find_shortage(self._complete(host), owner)

    def close(self) -> None:
        """Cancel all lookups."""
        for asking in self._asking.values():
            asking.cancel()

    def _complete(self, host: str) -> str:
        return host if self._rules.allows_private else f"{host}."

    async def _wait_for(self, name: str, owner: Hashable) -> tuple[str, ...]:
        asking = self._ask_once(name, owner)
        self._waiting[name] += 1
        try:
            # others may wait for the same answer: one of them giving up must not cancel it
            return await asyncio.shield(asking)
        except asyncio.CancelledError:
            if self._waiting[name] == 1 and not self._lookups.has_begun(name):
                asking.cancel()  # it would keep those waiting that are still awaited
            raise
        finally:
            self._waiting[name] -= 1
            if not self._waiting[name]:
                del self._waiting[name]

    async def _ask_again(self, name: str, known: Entry, owner: Hashable) -> tuple[str, ...]:
        """The addresses of today; those that are known, for another while, if they cannot be had soon."""
        asking = self._ask_once(name, owner)
        await asyncio.wait([asking], timeout=STALE_AFTER_S)
        # it is cancelled where one that cannot go on without it gives up
        is_answered = asking.done() and not asking.cancelled()
        if is_answered and not isinstance(asking.exception(), ResolveError | ShortageError):
            return asking.result()
        self._entries[name] = replace(known, expires_at_s=self._clock() + FOUND_TTL_S)
        return known.addresses

    def _ask_once(self, name: str, owner: Hashable) -> "asyncio.Task[tuple[str, ...]]":
        asking = self._asking.get(name)
        if asking is None:
            asking = self._asking[name] = asyncio.create_task(self._ask(name, owner))
            asking.add_done_callback(lambda done: self._forget_asking(name, done))
        else:
            self._lookups.share(name, owner)
        return asking

    def _forget_asking(self, name: str, done: "asyncio.Task[tuple[str, ...]]") -> None:
        del self._asking[name]
        take_notice(done)

    async def _ask(self, name: str, owner: Hashable) -> tuple[str, ...]:
        try:
            found = await self._lookups.ask(name, owner)
        except socket.gaierror as error:
            if error.errno in NOT_FOUND:
                return self._remember(name, (), MISSING_TTL_S)
            if (shortage := find_shortage(error)) is not None:
                raise ShortageError(shortage) from error
            raise ResolveError from error
        except (LookupsBusyError, ShortageError, OSError, UnicodeError, RuntimeError, MemoryError) as error:
            shortage = find_shortage(error)
            if shortage is not None:
                raise ShortageError(shortage) from error
            if isinstance(error, RuntimeError):
                raise
            raise ResolveError from error
        # one more than the most: shows that there are too many
        addresses = tuple(dict.fromkeys(found))[: ADDRESSES_MAX + 1]
        return self._remember(name, addresses, FOUND_TTL_S if addresses else MISSING_TTL_S)

    def _remember(self, name: str, addresses: tuple[str, ...], ttl_s: float) -> tuple[str, ...]:
        self._entries[name] = Entry(addresses, self._clock() + ttl_s, self._clock())
        self._entries.move_to_end(name)
        while len(self._entries) > self._cache_max:
            self._entries.popitem(last=False)
        return addresses
