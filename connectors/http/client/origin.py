"""Where connections go: what two requests must have in common to share one."""

from dataclasses import dataclass

from pipeline.endpoint_tls import TlsIdentity


@dataclass(frozen=True, slots=True)
class Origin:
    """Connections are kept per origin. The TLS identity belongs to it: one tenant's is never used by another."""

    is_tls: bool
    host: str  # a name in its ASCII form, or an address without brackets
    port: int
    identity: TlsIdentity | None = None
