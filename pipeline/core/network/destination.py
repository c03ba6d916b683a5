"""Where a request goes, parsed from a URL once; all later steps use the parsed value, never the text. Pure.

By the WHATWG's URL standard, as its reference parser (ada) reads it: what is sent is its path and query, with
percent-encodings and reserved characters as they were given. A host that looks like an address is one, in whatever
notation (decimal, octal, hexadecimal, short, full-width digits, a dot at the end), so that no resolver gets to
interpret it another way later.
"""

import re
from dataclasses import dataclass
from ipaddress import ip_address

from ada_url import URL, HostType

from pipeline.core.network.addresses import AddressRules, is_local_name
from pipeline.core.network.ports import PortRules

DEFAULT_PORTS = {"http": 80, "https": 443}
METHODS = frozenset({"GET", "PATCH", "POST", "PUT", "DELETE", "OPTIONS", "HEAD"})
HOST_MAX_CHARS = 253
# One sentence for all that is not public and all that does not exist: the log must not tell who is there.
UNREACHABLE = "the host has no address that deliveries may go to"

LABEL = re.compile(r"[a-z0-9_-]{1,63}")
ENCODED = "xn--"
VISIBLE = re.compile(r"[!-~]+")


class DestinationError(ValueError):
    """The URL is none that can be sent to; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """`host`: a lower-case ASCII name without a dot at its end, or an address in its shortest form, without brackets.

    `path`: path and query as they go into the request line.
    """

    is_tls: bool
    host: str
    is_address: bool
    port: int
    path: str

    @property
    def authority(self) -> str:
        """The value of the Host header."""
        default = DEFAULT_PORTS["https" if self.is_tls else "http"]
        return bracket(self.host) if self.port == default else f"{bracket(self.host)}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationRules:
    """Permitted destinations. Where private addresses are allowed, so are local names and all ports."""

    addresses: AddressRules
    ports: PortRules
    allows_plain_http: bool = True

    def find_problem(self, *, is_tls: bool, host: str, port: int) -> str | None:
        """Why nothing may be sent there as far as the form tells, as a sentence; None: it may.

        What a name stands for is another question: each of its addresses must pass `addresses.allows`.
        """
        if not is_tls and not self.allows_plain_http:
            return "the URL must start with https://"
        if _is_address(host):
            if not self.addresses.allows(host):
                return UNREACHABLE
        elif not self.addresses.allows_private and is_local_name(host):
            return UNREACHABLE
        if not self.addresses.allows_private and not self.ports.allows(port):
            return f"port {port} is not one that deliveries may go to"
        return None


def parse_destination(text: str) -> Destination:
    """Read an absolute http or https URL; its fragment is dropped. Raises `DestinationError`."""
    try:
        url = URL(text)
    except ValueError:
        raise DestinationError("the URL cannot be read") from None
    scheme = url.protocol.removesuffix(":")
    if scheme not in DEFAULT_PORTS:
        raise DestinationError("the URL must start with http:// or https://")
    if url.username or url.password:
        raise DestinationError("the URL must not carry a user or password")
    port = int(url.port) if url.port else DEFAULT_PORTS[scheme]
    if not port:
        raise DestinationError("the URL's port must be 1 to 65535")
    path = url.pathname + url.search
    if VISIBLE.fullmatch(path) is None or not path.startswith("/"):
        raise DestinationError("the URL's path cannot be sent")  # whatever the parser says, this is a request line
    host, is_address = _read_host(url)
    return Destination(is_tls=scheme == "https", host=host, is_address=is_address, port=port, path=path)


def bracket(host: str) -> str:
    """An IPv6 address as it stands in a URL; anything else as it is."""
    return f"[{host}]" if ":" in host else host


def _read_host(url: URL) -> tuple[str, bool]:
    """(host, is it an address?). Raises `DestinationError`."""
    if url.host_type != HostType.DEFAULT:
        return url.hostname.removeprefix("[").removesuffix("]"), True
    host = url.hostname.removesuffix(".")
    # stricter than the standard: what could never be looked up
    if len(host) > HOST_MAX_CHARS or not all(map(_is_label, host.split("."))):
        raise DestinationError("the URL's host is neither a name nor an address")
    if _is_address(host):
        raise DestinationError("the URL's host is not an address, although it looks like one")
    return host, False


def _is_label(label: str) -> bool:
    if LABEL.fullmatch(label) is None:
        return False
    if not label.startswith(ENCODED):
        return True
    # the parser looks at what it encodes itself, and takes what came encoded as it is
    try:
        decoded = label.removeprefix(ENCODED).encode("ascii").decode("punycode")
        return URL(f"http://{decoded}/").hostname == label
    except ValueError:
        return False


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
