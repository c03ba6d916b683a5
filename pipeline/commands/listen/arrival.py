"""One request that arrived, and how it is shown to a person or a program. Pure."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from pipeline.core.signing.verification import Verification

SHOWN_MAX_CHARS = 80  # of anything a stranger sent
BODY_SHOWN_MAX_BYTES = 16 * 1024
NOT_CHECKED = "signature not checked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """`headers`: names in lower case. `body` None: it was not kept, for the reason in `body_problem`.

    `verification` None: it was not verified. `answered_status`: of the server it was passed on to.
    """

    arrived_at_s: float
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes | None
    body_bytes: int
    body_problem: str | None = None
    verification: Verification | None = None
    answered_status: int | None = None

    def header(self, name: str) -> str:
        return clean(self.headers.get(name, "-"))

    @property
    def event_type(self) -> str:
        """The name, whose header is percent-encoded."""
        return clean(unquote(self.headers.get("x-event-type", "-")))


def format_line(arrival: Arrival) -> str:
    """One line, without its end."""
    moment = datetime.fromtimestamp(arrival.arrived_at_s).astimezone()
    return "  ".join(
        (
            moment.strftime("%H:%M:%S.") + f"{moment.microsecond // 1000:03}",
            arrival.event_type,
            f"event {arrival.header('x-event-id')}",
            f"delivery {arrival.header('webhook-id')}",
            f"{arrival.body_bytes:,} B",
            describe_signature(arrival),
            *(() if arrival.answered_status is None else (f"answered {arrival.answered_status}",)),
        )
    )


def describe_signature(arrival: Arrival) -> str:
    """Describe in words whether the signature is genuine."""
    found = arrival.verification
    if found is None:
        return f"{NOT_CHECKED} ({arrival.body_problem or 'no secret was given'})"
    if found.is_genuine:
        return f"signature ok ({', '.join(found.schemes)})"
    return f"signature WRONG ({clean('; '.join(found.problems), 4 * SHOWN_MAX_CHARS)})"


def format_body(arrival: Arrival) -> str:
    """The body for people: text as it is, but for control characters; other bytes as base64; both cut."""
    body = (arrival.body or b"")[:BODY_SHOWN_MAX_BYTES]
    try:
        shown = "".join(
            character if character in "\n\t" or character.isprintable() else ascii(character)[1:-1]
            # a character cut in two at the end is left out
            for character in body.decode(errors="strict" if len(body) == arrival.body_bytes else "ignore")
        )
    except UnicodeDecodeError:
        shown = "base64 " + base64.b64encode(body).decode()
    rest = arrival.body_bytes - len(body)
    return shown + (f"\n... {rest:,} B more" if rest else "")


def show(arrival: Arrival, *, shows_body: bool) -> dict[str, Any]:
    """The members of a JSON object, for programs."""
    found = arrival.verification
    members: dict[str, Any] = {
        "arrived_at": datetime.fromtimestamp(arrival.arrived_at_s, UTC).isoformat().replace("+00:00", "Z"),
        "method": arrival.method,
        "path": clean(arrival.path, 10 * SHOWN_MAX_CHARS),
        "event_type": arrival.event_type,
        "event_id": arrival.header("x-event-id"),
        "delivery_id": arrival.header("webhook-id"),
        "body_bytes": arrival.body_bytes,
        "is_genuine": None if found is None else found.is_genuine,
        "schemes": [] if found is None else list(found.schemes),
        "signature": describe_signature(arrival),
    }
    if arrival.answered_status is not None:
        members["answered_status"] = arrival.answered_status
    return members | ({"body": format_body(arrival)} if shows_body else {})


def clean(text: str, max_chars: int = SHOWN_MAX_CHARS) -> str:
    """Make foreign text safe for a terminal: cut, without control and unprintable characters."""
    shown = "".join(character if character.isprintable() else "?" for character in text[: max_chars + 1])
    return shown if len(shown) <= max_chars else shown[:max_chars] + "…"
