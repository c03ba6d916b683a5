"""TLS contexts for requests to endpoints: 1.2 or newer, chain and name always verified. No switch weakens it.

The API checks a subscription's certificates by building their context, and deliver uses the context: what the one
accepts the other can load. Nothing of the environment takes part (no SSLKEYLOGFILE), but for where the system's
authorities lie.
"""

import contextlib
import os
import re
import ssl
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

PEM_MAX_CHARS = 64 * 1024
CERTIFICATE = re.compile(
    r"-----BEGIN (?P<label>(?:X509 |TRUSTED )?CERTIFICATE)-----[\sA-Za-z0-9+/=]*-----END (?P=label)-----"
)
KEY_MARK = re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----")


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsIdentity:
    """The TLS certificates and key of a subscription, as PEM.

    `ca_pem`: the only authorities its endpoint's certificate may come from; None: the system's. `certificate_pem` and
    `key_pem`: what we show when we are asked who we are; both or none.
    """

    ca_pem: str | None = None
    certificate_pem: str | None = None
    key_pem: str | None = field(default=None, repr=False)


class TlsIdentityError(ValueError):
    """A subscription's own certificates cannot be used; the message says which."""


def build_context(identity: TlsIdentity | None) -> ssl.SSLContext:
    """The context for an identity; None: for all who have none.

    Raises `TlsIdentityError` for what is wrong with the identity, and OSError for what this process lacks.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies chain and name
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION  # of no use to us, and a way to make us work
    # a name is one of the certificate's alternative names, never its common name (RFC 9110, section 4.3.4)
    context.hostname_checks_common_name = False
    context.set_alpn_protocols(["http/1.1"])
    if identity is None or identity.ca_pem is None:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        if identity is None:
            _read_system_authorities(context)
    else:
        _trust(context, identity.ca_pem, "the subscription's CA certificate cannot be read")
        # a trust anchor need not be self-signed: an intermediate is enough (RFC 5280, section 6.1.1)
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if identity is not None and identity.certificate_pem is not None:
        _show(context, identity.certificate_pem, identity.key_pem or "")
    return context


def find_pem_problem(pem: str) -> str | None:
    """Why these are no certificates that can be loaded, as a sentence; None: they can."""
    if len(pem) > PEM_MAX_CHARS:
        return f"it may have {PEM_MAX_CHARS} characters"
    if KEY_MARK.search(pem) is not None:
        return "it must not hold a private key, which would be kept and shown in clear"
    try:
        _trust(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), pem, "it must be certificates in PEM")
    except TlsIdentityError as error:
        return str(error)
    return None


def find_identity_problem(identity: TlsIdentity) -> str | None:
    """Why this identity cannot be used, as a sentence; None: it can."""
    try:
        build_context(identity)
    except TlsIdentityError as error:
        return str(error)
    return None


def _read_system_authorities(context: ssl.SSLContext) -> None:
    """Read the folder of the system's authorities now.

    OpenSSL opens its files while it verifies; a process without files left would find every authority unknown.
    """
    folder = ssl.get_default_verify_paths().capath
    if folder is None:
        return
    found: set[str] = set()
    for entry in os.scandir(folder):
        if entry.is_file():
            text = Path(entry.path).read_text(encoding="ascii", errors="replace")
            found |= {match.group() for match in CERTIFICATE.finditer(text)}
    for block in found:
        with contextlib.suppress(ssl.SSLError, ValueError):  # one that cannot be read is not trusted
            context.load_verify_locations(cadata=block)


def _trust(context: ssl.SSLContext, pem: str, problem: str) -> None:
    # OpenSSL skips what stands around certificates, Python refuses it unless it is ASCII: only they are handed on
    blocks = [match.group() for match in CERTIFICATE.finditer(pem)]
    if not blocks:
        raise TlsIdentityError(problem)
    try:
        context.load_verify_locations(cadata="\n".join(blocks))
    except (ssl.SSLError, ValueError):
        raise TlsIdentityError(problem) from None


def _show(context: ssl.SSLContext, certificate_pem: str, key_pem: str) -> None:
    """OpenSSL, as Python has it, reads these from files only: from one that is in memory and has no name."""
    with _open_unnamed() as file:
        file.write(f"{key_pem}\n{certificate_pem}\n".encode(errors="replace"))
        file.flush()
        try:
            # without a password given, OpenSSL would ask for one on the terminal
            context.load_cert_chain(f"/dev/fd/{file.fileno()}", password=lambda: "")
        except (ssl.SSLError, ValueError):
            raise TlsIdentityError("the subscription's client certificate or its key cannot be used") from None


def _open_unnamed() -> IO[bytes]:
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("client-certificate"), "w+b")
    return tempfile.TemporaryFile("w+b")
