"""Where an endpoint is: scheme, host and port, parsed once."""

from dataclasses import dataclass

from yarl import URL

DEFAULT_PORTS = {"http": 80, "https": 443}


class TargetError(ValueError):
    """The URL is none we can send to; the message says why."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Connections are kept per origin."""

    is_tls: bool
    host: str  # a name in its ASCII form, or an address without brackets
    port: int


def parse_origin(url: URL) -> Origin:
    """The origin of an absolute http or https URL. Raises `TargetError`."""
    if url.scheme not in DEFAULT_PORTS:
        raise TargetError("the URL must start with http:// or https://")
    host = url.raw_host
    if not host:
        raise TargetError("the URL has no host")
    if "%" in host:
        raise TargetError("the URL's host has a zone")
    if url.user is not None or url.password is not None:
        raise TargetError("the URL must not carry a user or password")
    return Origin(url.scheme == "https", host, url.port or DEFAULT_PORTS[url.scheme])
