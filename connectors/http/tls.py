"""TLS to endpoints: 1.2 or newer, chain and name always verified. There is no switch that weakens it.

Nothing of the environment takes part (no SSLKEYLOGFILE), but for where the system's authorities lie.
"""

import os
import ssl
import tempfile
from collections import OrderedDict
from typing import IO

from connectors.http.origin import TlsIdentity

CONTEXTS_MAX = 1000


class TlsIdentityError(ValueError):
    """A subscription's own certificates cannot be used; the message says which."""


class TlsContexts:
    """One context for all, and one for each identity, remembered by content."""

    def __init__(self, *, contexts_max: int = CONTEXTS_MAX) -> None:
        self._contexts_max = contexts_max
        self._default: ssl.SSLContext | None = None  # reading the system's authorities takes a moment
        self._own: OrderedDict[TlsIdentity, ssl.SSLContext] = OrderedDict()

    def find(self, identity: TlsIdentity | None) -> ssl.SSLContext:
        """Raises `TlsIdentityError`."""
        if identity is None:
            if self._default is None:
                self._default = _build(None)
            return self._default
        context = self._own.get(identity)
        if context is None:
            context = self._own[identity] = _build(identity)
            if len(self._own) > self._contexts_max:
                self._own.popitem(last=False)
        self._own.move_to_end(identity)
        return context


def _build(identity: TlsIdentity | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies chain and name
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION  # of no use to us, and a way to make us work
    context.set_alpn_protocols(["http/1.1"])
    if identity is None or identity.ca_pem is None:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    else:
        try:
            context.load_verify_locations(cadata=identity.ca_pem)
        except (ssl.SSLError, ValueError):
            raise TlsIdentityError("the subscription's CA certificate cannot be read") from None
    if identity is not None and identity.certificate_pem is not None:
        _load_certificate(context, identity.certificate_pem, identity.key_pem or "")
    return context


def _load_certificate(context: ssl.SSLContext, certificate_pem: str, key_pem: str) -> None:
    """OpenSSL, as Python has it, reads these from files only: from one that is in memory and has no name."""
    with _open_unnamed() as file:
        file.write(f"{key_pem}\n{certificate_pem}\n".encode())
        file.flush()
        try:
            # without a password given, OpenSSL would ask for one on the terminal
            context.load_cert_chain(f"/dev/fd/{file.fileno()}", password=lambda: "")
        except (ssl.SSLError, ValueError, OSError):
            raise TlsIdentityError("the subscription's client certificate or its key cannot be used") from None


def _open_unnamed() -> IO[bytes]:
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("client-certificate"), "w+b")
    return tempfile.TemporaryFile("w+b")
