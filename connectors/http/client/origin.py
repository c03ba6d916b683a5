"""Origins: the facts that two requests must have in common to share a connection."""

from typing import NamedTuple

from pipeline.endpoint_tls import TlsIdentity


class Origin(NamedTuple):
    """Connections are kept per origin. The TLS identity belongs to it: one tenant's is never used by another.

    A tuple: it is looked up three times for each request.
    """

    is_tls: bool
    host: str  # a name in its ASCII form, or an address without brackets
    port: int
    identity: TlsIdentity | None = None
