"""Where connections go: what two requests must have in common to share one."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsIdentity:
    """What a subscription brings for its own TLS, as PEM.

    `ca_pem`: the only authorities its endpoint's certificate may come from; None: the system's. `certificate_pem` and
    `key_pem`: what we show when we are asked who we are; both or none.
    """

    ca_pem: str | None = None
    certificate_pem: str | None = None
    key_pem: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Origin:
    """Connections are kept per origin. The identity belongs to it: nobody sends over somebody else's connection."""

    is_tls: bool
    host: str  # a name in its ASCII form, or an address without brackets
    port: int
    identity: TlsIdentity | None = None
