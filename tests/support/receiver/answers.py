"""Answers of a well-behaved endpoint: whole HTTP responses, at once."""

from dataclasses import dataclass
from http import HTTPStatus

PHRASES = {status.value: status.phrase for status in HTTPStatus}
Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Status:
    """Any status code."""

    code: int
    body: bytes = b""
    headers: Headers = ()

    def to_bytes(self) -> bytes:
        return format_response(self.code, self.body, self.headers)


@dataclass(frozen=True, slots=True)
class Ok:
    """200."""

    body: bytes = b"ok"

    def to_bytes(self) -> bytes:
        return format_response(200, self.body)


@dataclass(frozen=True, slots=True)
class Redirect:
    """A redirect to `location`."""

    location: str
    code: int = 302

    def to_bytes(self) -> bytes:
        return format_response(self.code, b"", (("Location", self.location),))


@dataclass(frozen=True, slots=True)
class Gone:
    """410: do not come back."""

    def to_bytes(self) -> bytes:
        return format_response(410, b"gone")


@dataclass(frozen=True, slots=True)
class TooMany:
    """429. `retry_after`: seconds, an HTTP date, or any junk to put into the header; None: no header."""

    retry_after: int | str | None = None

    def to_bytes(self) -> bytes:
        hint: Headers = () if self.retry_after is None else (("Retry-After", str(self.retry_after)),)
        return format_response(429, b"too many", hint)


Answer = Status | Ok | Redirect | Gone | TooMany


def format_response(code: int, body: bytes, headers: Headers = ()) -> bytes:
    """A complete HTTP/1.1 response."""
    return format_head(code, (*headers, ("Content-Length", str(len(body))))) + body


def format_head(code: int, headers: Headers) -> bytes:
    """Status line and headers as given, with the empty line behind them."""
    phrase = PHRASES.get(code, "Unknown")
    lines = [f"HTTP/1.1 {code} {phrase}", *(f"{name}: {value}" for name, value in headers)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
