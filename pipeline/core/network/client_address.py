"""The client's address of a request that came through proxies. Pure.

Every proxy appends the address of its peer at the right end of a header. Entries further left came with the request and
may be invented. Reading goes from right to left while the address belongs to one of our own proxies, and ends at the
first that does not.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv6Address, ip_address

from pipeline.core.network.addresses import Address, Network

# More proxies of ours than this stand behind each other nowhere; bounds the work of a header full of addresses.
HOPS_MAX = 32


class ProxyHeader(StrEnum):
    """The header that the proxies write. The other one comes from clients unchanged, and says nothing."""

    X_FORWARDED_FOR = "X-Forwarded-For"
    FORWARDED = "Forwarded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxies:
    """Our proxies, and the header in which they say who spoke to them."""

    networks: tuple[Network, ...] = ()
    header: ProxyHeader = ProxyHeader.X_FORWARDED_FOR

    def find_client(self, peer: str | None, fields: Sequence[str]) -> str | None:
        """The client's address. `peer`: who is connected to us. `fields`: the header's, in the order they came in.

        Where the trail ends (something that is no address, or nothing more), it is the last proxy's.
        """
        address = parse_address(peer or "")
        if address is None:
            return peer
        if self._is_proxy(address):
            for hop, text in enumerate(list_hops(self.header, fields)):
                said = parse_address(text)
                if said is None or hop == HOPS_MAX:
                    break
                address = said
                if not self._is_proxy(address):
                    break
        return str(address)

    def _is_proxy(self, address: Address) -> bool:
        return any(address in network for network in self.networks)


def list_hops(header: ProxyHeader, fields: Sequence[str]) -> Iterator[str]:
    """The peer of each proxy, the nearest to us first. An unreadable text is returned as it is, or as empty."""
    for field in reversed(fields):
        match header:
            case ProxyHeader.X_FORWARDED_FOR:
                yield from reversed(field.split(","))
            case ProxyHeader.FORWARDED:
                yield from _list_forwarded(field)


def parse_address(text: str) -> Address | None:
    """`192.0.2.1`, `192.0.2.1:443`, `2001:db8::1`, `[2001:db8::1]:443`; an IPv4 address inside an IPv6 one is that."""
    text = text.strip()
    found = WITH_PORT.fullmatch(text)
    if found is not None:
        text = found["v6"] or found["v4"]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address.scope_id is not None:
            return IPv6Address(int(address))  # a link of the machine that wrote it, which means nothing elsewhere
    return address


WITH_PORT = re.compile(r"\[(?P<v6>[^\[\]]*)\](?::\d{1,5})?|(?P<v4>[\d.]+):\d{1,5}")
# RFC 7239, section 4; blanks around separators are allowed, as elsewhere in HTTP. Of an element's pairs `for` counts.
NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
QUOTED = r'"(?:[^"\\]|\\.)*"'
# an address with colons must be quoted, and some proxies do not quote it
PAIR = rf"{NAME}=(?:{QUOTED}|[^\s\",;=\\]+)"
# possessive: blanks between separators could be shared out in many ways, and a long header would try them all
BLANKS = r"[ \t]*+"
ELEMENT_AT_END = re.compile(rf"(?:^|,){BLANKS}((?:{PAIR})?+(?:{BLANKS};{BLANKS}(?:{PAIR})?+)*+){BLANKS}$")
FOR = re.compile(rf"(?:^|;)[ \t]*for=({QUOTED}|[^\s\",;=\\]+)", re.IGNORECASE)


def _list_forwarded(field: str) -> Iterator[str]:
    # From the right: what a client wrote in front, a quote that never ends say, does not hide what our proxy added.
    left = field
    while True:
        element = ELEMENT_AT_END.search(left)
        if element is None:
            yield ""
            return
        said = FOR.search(element[1])
        yield re.sub(r"\\(.)", r"\1", said[1].strip('"')) if said is not None else ""
        if element.start() == 0 and not left.startswith(","):
            return
        left = left[: element.start()]
