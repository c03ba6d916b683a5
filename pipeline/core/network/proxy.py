"""An egress proxy: all connections to endpoints go through it, by CONNECT, for http as for https. Pure.

Its own address is set by the operator and not checked. The proxy then resolves names, so that
is where private networks must be refused; by us only what the URL itself shows.
"""

import base64
from dataclasses import dataclass, field

from yarl import URL


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """`authorization`: value of the Proxy-Authorization header."""

    host: str
    port: int
    authorization: str | None = field(default=None, repr=False)


def parse_proxy(url: str) -> Proxy:
    """`http://[user:password@]host[:port]` → proxy. Raises ValueError, without the URL, which may hold a password."""
    try:
        parsed = URL(url)
        host, port = parsed.host, parsed.port
    except ValueError:
        raise ValueError("the egress proxy's URL cannot be read") from None
    if parsed.scheme != "http" or not host or not port:
        raise ValueError("the egress proxy's URL must be http://host:port")
    authorization = None
    if parsed.raw_user is not None or parsed.raw_password is not None:
        pair = f"{parsed.user or ''}:{parsed.password or ''}"
        authorization = "Basic " + base64.b64encode(pair.encode()).decode()
    return Proxy(host=host, port=port, authorization=authorization)
