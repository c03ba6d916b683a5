"""Headers that a subscription may add to its deliveries, and which of all headers may be shown. Pure.

Asked by the API when a subscription is written and by the http sink before each request: what came into the log
another way is checked as well.
"""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# blanks at the ends are cut off on the way, and the signature over the value would not fit any more
VALUE = re.compile(r"(?:[!-~](?:[\t -~]*[!-~])?)?")
FORBIDDEN_NAMES = frozenset(
    (
        *("host", "content-length", "transfer-encoding", "te", "trailer"),  # would say where a request ends, or whose
        *(
            "connection",
            "keep-alive",
            "upgrade",
            "expect",
            "http2-settings",
        ),  # are about the connection, not the request
        *("x-event-id", "x-event-type"),  # ours
    )
)
FORBIDDEN_PREFIXES = ("proxy-", "webhook-", "hookline-")
SIGNATURE_HEADER = "X-Hook0-Signature"

SECRET_WORDS = re.compile(
    r"auth|cookie|token|secret|passw|passphrase|credential|session|(api|access|functions|shared|master|private)-?key"
)
NAMES_REMEMBERED = 4096
REDACTED = "(redacted)"


def find_header_problem(name: str, value: str, *, signature_header: str = SIGNATURE_HEADER) -> str | None:
    """Why a subscription must not add this header, as a sentence without the value; None: it may."""
    if TOKEN.fullmatch(name) is None:
        return f"{_show(name)} is not a header name"
    lower = name.lower()
    if lower in FORBIDDEN_NAMES or lower.startswith(FORBIDDEN_PREFIXES) or lower == signature_header.lower():
        return f"the header {_show(name)} cannot be set by a subscription"
    return find_value_problem(name, value)


def find_repeated_name(names: Iterable[str]) -> str | None:
    """The problem of a header name that occurs twice, as a sentence, or None. Only one of the two could be sent."""
    seen: set[str] = set()
    for name in names:
        if name.lower() in seen:
            return f"the header {_show(name)} is there twice"
        seen.add(name.lower())
    return None


def find_value_problem(name: str, value: str) -> str | None:
    """Why this value cannot be sent: it is not visible ASCII, with blanks inside at most. None: it can."""
    if VALUE.fullmatch(value) is None:
        return f"the value of header {_show(name)} is not visible ASCII"
    return None


@lru_cache(maxsize=NAMES_REMEMBERED)
def is_secret_name(name: str) -> bool:
    """Does a header of this lower-case name hold a secret, which the API and the logs must hide?"""
    return SECRET_WORDS.search(name) is not None


def redact(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers (lower-case names) as they may be archived and shown."""
    return {name: REDACTED if is_secret_name(name) else value for name, value in headers.items()}


def _show(name: str) -> str:
    return ascii(name if len(name) <= 60 else name[:60] + "…")
