"""Heads of `POST /event` as nearly every client sends them, read without a parser's objects.

This module recognises a strict part of HTTP/1.1: one spelling of the request line, field values of visible ASCII, each
field once, a length, nothing that changes the framing or the meaning of the body. Any other head is None, and is
read by aiohttp: nothing is refused here.
"""

import re
from dataclasses import dataclass

from pipeline.core.events.loop_detection import HOP_HEADER
from pipeline.core.trace_context import TRACEPARENT, TRACESTATE, TraceHeaders, make_headers
from pipeline.gateway.auth import strip_scheme
from pipeline.gateway.headers import is_host

HEAD_MAX_BYTES = 4096
REMEMBERED = 1024
END = b"\r\n\r\n"
FIELDS = re.compile(rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[ \t]?[!-~](?:[ -~]*[!-~])?\r\n)+")
LENGTH = re.compile(r"[0-9]{1,8}")
CONTENT_TYPES = frozenset(("application/json", "application/json; charset=utf-8", "application/json;charset=utf-8"))
NEEDED = ("host", "authorization", "content-type", "content-length")
# They change where the request ends, how its body is read, the answer, or whether the event may be accepted.
UNUSUAL = frozenset(
    ("transfer-encoding", "content-encoding", "expect", "upgrade", "te", "trailer", "origin", HOP_HEADER.lower())
)


@dataclass(frozen=True, slots=True)
class PlainHead:
    """`length`: of the head itself, up to the body. `forwarded`: values of the header that trusted proxies write."""

    length: int
    body_length: int
    token: str
    forwarded: tuple[str, ...]
    trace: TraceHeaders | None = None


class PlainHeads:
    """Remembers heads that it has read: a client's heads differ in little but the length of the body."""

    def __init__(self, path: str, *, proxy_header: str, body_max_bytes: int) -> None:
        self.start = f"POST {path} HTTP/1.1\r\n".encode("ascii")
        self._proxy_header = proxy_header.lower()
        self._body_max_bytes = body_max_bytes
        self._known: dict[bytes, PlainHead] = {}

    def read(self, data: bytes) -> PlainHead | None:
        """The head at the beginning of `data`; None: it is not plain, or not all here."""
        end = data.find(END, 0, HEAD_MAX_BYTES)
        if end < 0:
            return None
        head = data[: end + len(END)]
        return self._known.get(head) or self._parse(head)

    def remember(self, data: bytes, head: PlainHead) -> None:
        """A caller who is known sent this: only such ones take room. No head with a trace of its own comes again."""
        if head.trace is not None:
            return
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        self._known[data[: head.length]] = head

    def _parse(self, head: bytes) -> PlainHead | None:
        if not head.startswith(self.start) or FIELDS.fullmatch(head, len(self.start), len(head) - 2) is None:
            return None
        fields: dict[str, str] = {}
        for line in head[len(self.start) : -len(END)].decode("ascii").split("\r\n"):
            name, value = line.split(":", 1)
            name = name.lower()
            if name in fields or name in UNUSUAL:
                return None
            fields[name] = value.strip(" \t")
        if not all(name in fields for name in NEEDED) or fields.get("connection", "keep-alive").lower() != "keep-alive":
            return None
        if not is_host(fields["host"]) or fields["content-type"].lower() not in CONTENT_TYPES:
            return None
        length = fields["content-length"]
        if LENGTH.fullmatch(length) is None or int(length) > self._body_max_bytes:
            return None
        forwarded = fields.get(self._proxy_header)
        return PlainHead(
            len(head),
            int(length),
            strip_scheme(fields["authorization"]),
            () if forwarded is None else (forwarded,),
            make_headers(fields.get(TRACEPARENT), fields.get(TRACESTATE)),
        )
