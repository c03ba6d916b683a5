"""Which addresses an endpoint may have: public ones only. Pure: the resolver and the dialer apply the rules.

The ranges are IANA's special-purpose registries (RFC 6890 and updates), multicast, metadata services on public
addresses, and what carries an IPv4 address inside an IPv6 one, which is judged by the address inside.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

FORBIDDEN_V4 = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this host
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT; 100.100.100.200 is a metadata service
        "127.0.0.0/8",
        "168.63.129.16/32",  # a public address that means the host machine to every guest of Azure
        "169.254.0.0/16",  # link-local; 169.254.169.254 and 169.254.170.2 are metadata services
        "172.16.0.0/12",
        "192.0.0.0/24",  # 192.0.0.192 is a metadata service
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)
# The only block that public IPv6 addresses are given out of. Unique local (fd00:ec2::254 is a metadata service),
# link-local, site-local, multicast, IPv4-compatible and IPv4-translated addresses, and segment routing lie outside.
GLOBAL_UNICAST = IPv6Network("2000::/3")
FORBIDDEN_V6 = tuple(
    IPv6Network(text)
    for text in (
        "2001::/23",  # protocol assignments, Teredo
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "3fff::/20",  # documentation
    )
)
# IANA: globally reachable although inside 2001::/23
PUBLIC_ASSIGNMENTS = tuple(
    IPv6Network(text)
    for text in (
        "2001:1::1/128",
        "2001:1::2/128",
        "2001:1::3/128",
        "2001:3::/32",
        "2001:4:112::/48",
        "2001:20::/28",
        "2001:30::/28",
    )
)
NAT64 = IPv6Network("64:ff9b::/96")
NAT64_LOCAL = IPv6Network("64:ff9b:1::/48")
COMPATIBLE = IPv6Network("::/96")
TRANSLATED = IPv6Network("::ffff:0:0:0/96")
ISATAP_INTERFACES = (0x0000_5EFE, 0x0200_5EFE)
LOW_32 = 0xFFFF_FFFF

LOCAL_SUFFIXES = (
    *(".localhost", ".localdomain", ".local", ".internal", ".svc", ".cluster.local"),
    *(".home.arpa", ".home", ".lan", ".corp", ".intranet", ".private"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressRules:
    """Addresses that may be dialled. `denied` holds even where private addresses are allowed."""

    allows_private: bool = False
    denied: tuple[Network, ...] = ()

    def allows(self, address: str) -> bool:
        """May a request go to this address? A text that is no address is none."""
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        if not self.allows_private and not is_public(parsed):
            return False
        return not (self.denied and self._denies(parsed))

    def _denies(self, address: Address) -> bool:
        alike: list[Address] = [address]
        if isinstance(address, IPv6Address):
            alike += list_inner(address)
        return any(each in network for each in alike for network in self.denied)


def is_public(address: str | Address) -> bool:
    """May an endpoint have this address? A text that is no address is not public."""
    if isinstance(address, str):
        try:
            address = ip_address(address)
        except ValueError:
            return False
    if isinstance(address, IPv4Address):
        return not any(address in network for network in FORBIDDEN_V4)
    if address.scope_id is not None:
        return False
    if address.ipv4_mapped is not None or address in NAT64:
        return all(is_public(inner) for inner in list_inner(address))
    if any(address in network for network in PUBLIC_ASSIGNMENTS):
        return True
    if address not in GLOBAL_UNICAST or any(address in network for network in FORBIDDEN_V6):
        return False
    return all(is_public(inner) for inner in list_inner(address))


def list_inner(address: IPv6Address) -> Iterator[IPv4Address]:
    """The IPv4 addresses that traffic to this IPv6 address may end at, by the ways of writing one inside."""
    low = IPv4Address(int(address) & LOW_32)
    if address.ipv4_mapped is not None or any(
        address in network for network in (NAT64, NAT64_LOCAL, COMPATIBLE, TRANSLATED)
    ):
        yield low
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo
    if (int(address) >> 32) & LOW_32 in ISATAP_INTERFACES:
        yield low


def is_local_name(host: str) -> bool:
    """Does this name belong to a private network by its form? One without a dot does: it cannot be registered."""
    name = host.rstrip(".").lower()
    return "." not in name or name.endswith(LOCAL_SUFFIXES)


def parse_networks(text: str) -> tuple[Network, ...]:
    """`10.96.0.0/12 fd00::/8` → networks; a lone address is one. Raises ValueError that names the word."""
    networks = []
    for word in text.split():
        try:
            networks.append(ip_network(word))
        except ValueError as error:
            raise ValueError(f"{word!r} is not a network: {error}") from None
    return tuple(networks)
