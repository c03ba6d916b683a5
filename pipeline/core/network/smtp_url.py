"""Where e-mails are handed over, as a URL."""

from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import unquote, urlsplit

Security = Literal["tls", "starttls", "none"]
SCHEMES: dict[str, tuple[Security, int]] = {
    "smtps": ("tls", 465),
    "smtp": ("starttls", 587),
    "smtp+plain": ("none", 25),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SmtpServer:
    """One server."""

    host: str
    port: int
    security: Security
    username: str | None = None
    password: str | None = field(default=None, repr=False)


def parse_smtp_url(url: str) -> SmtpServer:
    """Parse the URL of a mail server. Raises `ValueError`, whose text leaves the URL out: it may have a password."""
    parts = urlsplit(url)
    known = SCHEMES.get(parts.scheme)
    if known is None or not parts.hostname:
        raise ValueError(f"it must be one of {', '.join(SCHEMES)} with :// and a host")
    security, port = known
    if parts.username is not None and security == "none":
        raise ValueError("a password is not sent without TLS: use smtps:// or smtp://")
    return SmtpServer(
        host=parts.hostname,
        port=parts.port or port,
        security=security,
        username=unquote(parts.username) if parts.username is not None else None,
        password=unquote(parts.password or "") if parts.username is not None else None,
    )
