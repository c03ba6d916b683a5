"""Where a request goes, read from a URL once: everybody uses what was read, nobody reads the text again. Pure.

A host that looks like an address is one, in whatever notation (decimal, octal, hexadecimal, short, full-width digits,
a dot at the end): the WHATWG's rules, so that no resolver gets to interpret it another way later.
"""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address

from yarl import URL

from pipeline.core.addresses import AddressRules, is_local_name
from pipeline.core.ports import PortRules

DEFAULT_PORTS = {"http": 80, "https": 443}
METHODS = frozenset({"GET", "PATCH", "POST", "PUT", "DELETE", "OPTIONS", "HEAD"})
HOST_MAX_CHARS = 253
# One sentence for all that is not public and all that does not exist: the log must not tell who is there.
UNREACHABLE = "the host has no address that deliveries may go to"

LABEL = re.compile(r"[a-z0-9_-]{1,63}")
NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
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
    """What this deployment sends to. Where private addresses are allowed, so are local names and all ports."""

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
    if any(ord(character) < 0x20 or ord(character) == 0x7F for character in text):
        raise DestinationError("the URL must not have control characters")
    try:
        url = URL(text)
        port = url.port
    except (ValueError, IndexError):  # the latter for `0://[]@`
        raise DestinationError("the URL cannot be read") from None
    if url.scheme not in DEFAULT_PORTS:
        raise DestinationError("the URL must start with http:// or https://")
    if url.raw_user is not None or url.raw_password is not None:
        raise DestinationError("the URL must not carry a user or password")
    if not port:
        raise DestinationError("the URL's port must be 1 to 65535")
    path = url.raw_path_qs or "/"
    if VISIBLE.fullmatch(path) is None or not path.startswith("/"):
        raise DestinationError("the URL's path cannot be sent")
    host, is_address = _read_host(url.raw_host or "")
    return Destination(is_tls=url.scheme == "https", host=host, is_address=is_address, port=port, path=path)


def bracket(host: str) -> str:
    """An IPv6 address as it stands in a URL; anything else as it is."""
    return f"[{host}]" if ":" in host else host


def _read_host(raw: str) -> tuple[str, bool]:
    """(host, is it an address?). Raises `DestinationError`."""
    if ":" in raw:
        if "%" in raw:
            raise DestinationError("the URL's address must not have a zone")
        try:
            return str(ip_address(raw)), True
        except ValueError:
            raise DestinationError("the URL's host is not an address, although it looks like one") from None
    host = raw.lower().removesuffix(".")
    if not host:
        raise DestinationError("the URL has no host")
    labels = host.split(".")
    if len(host) > HOST_MAX_CHARS or not all(LABEL.fullmatch(label) for label in labels):
        raise DestinationError("the URL's host is neither a name nor an address")
    if NUMBER.fullmatch(labels[-1]) is None:
        return host, False
    return str(_read_ipv4(labels)), True


def _read_ipv4(labels: list[str]) -> IPv4Address:
    """One to four numbers; the last one fills all bytes that are left. Raises `DestinationError`."""
    try:
        *leading, last = [_read_number(label) for label in labels]
        if len(leading) > 3 or any(number > 0xFF for number in leading):
            raise ValueError
        packed = bytes(leading) + last.to_bytes(4 - len(leading), "big")
    except (ValueError, OverflowError):
        raise DestinationError("the URL's host is not an address, although it looks like one") from None
    return IPv4Address(packed)


def _read_number(label: str) -> int:
    if NUMBER.fullmatch(label) is None:
        raise ValueError
    if label.startswith("0x"):
        return int(label[2:] or "0", 16)
    return int(label, 8) if len(label) > 1 and label.startswith("0") else int(label)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
