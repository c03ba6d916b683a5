"""Behaviours of a bad endpoint: slow, silent, lying, endless. Each plays on the raw connection.

Where a behaviour ends and the connection is still open, it stays open for the next request.
"""

import asyncio
import gzip
from dataclasses import dataclass, field
from typing import Literal

from tests.support.receiver.answers import Answer, Ok, format_head, format_response
from tests.support.receiver.exchange import Exchange

BLOCK = b"x" * (64 * 1024)


@dataclass(frozen=True, slots=True)
class Slow:
    """Answer, but only after `delay_ms`."""

    delay_ms: int
    answer: Answer = field(default_factory=Ok)

    async def play(self, exchange: Exchange) -> None:
        await asyncio.sleep(self.delay_ms / 1000)
        exchange.write(self.answer.to_bytes())


@dataclass(frozen=True, slots=True)
class Hang:
    """Take the request and never say a word."""

    async def play(self, exchange: Exchange) -> None:
        await exchange.wait_closed()


@dataclass(frozen=True, slots=True)
class Drip:
    """One byte per `interval_s`: of the `head`, or of the `body` after a complete head."""

    part: Literal["head", "body"] = "body"
    interval_s: float = 1.0

    async def play(self, exchange: Exchange) -> None:
        head = format_head(200, (("Content-Length", "1000000"),))
        if self.part == "body":
            exchange.write(head)
        dripped = head if self.part == "head" else b"x" * 1_000_000
        for number in range(len(dripped)):
            exchange.write(dripped[number : number + 1])
            await asyncio.sleep(self.interval_s)
        await exchange.wait_closed()


@dataclass(frozen=True, slots=True)
class Reset:
    """RST: right after the `request`, in the middle of the `head`, or in the middle of the `body`."""

    within: Literal["request", "head", "body"] = "request"

    async def play(self, exchange: Exchange) -> None:
        response = format_response(200, b"x" * 1000)
        sent = {"request": b"", "head": response[:20], "body": response[:-500]}[self.within]
        exchange.write(sent)
        await exchange.drain()
        exchange.reset()


@dataclass(frozen=True, slots=True)
class CloseUnanswered:
    """An orderly end of the connection instead of an answer."""

    async def play(self, exchange: Exchange) -> None:
        exchange.close()


@dataclass(frozen=True, slots=True)
class HalfClose:
    """Half of the body, then FIN; the other direction stays open. Not over TLS, which knows no such thing."""

    async def play(self, exchange: Exchange) -> None:
        exchange.write(format_response(200, b"x" * 1000)[:-500])
        exchange.half_close()
        await exchange.wait_closed()


@dataclass(frozen=True, slots=True)
class LieAboutLength:
    """Claim one Content-Length, send another number of bytes, then close."""

    claimed_bytes: int = 1000
    sent_bytes: int = 10

    async def play(self, exchange: Exchange) -> None:
        exchange.write(format_head(200, (("Content-Length", str(self.claimed_bytes)),)) + b"x" * self.sent_bytes)
        exchange.close()


@dataclass(frozen=True, slots=True)
class EndlessBody:
    """A body without end, as fast as it is read: in chunks, or with a Content-Length of a terabyte."""

    framing: Literal["chunked", "length"] = "chunked"

    async def play(self, exchange: Exchange) -> None:
        is_chunked = self.framing == "chunked"
        framing = ("Transfer-Encoding", "chunked") if is_chunked else ("Content-Length", str(10**12))
        exchange.write(format_head(200, (framing,)))
        block = b"%x\r\n%b\r\n" % (len(BLOCK), BLOCK) if is_chunked else BLOCK
        while True:
            exchange.write(block)
            await exchange.drain()


@dataclass(frozen=True, slots=True)
class BadChunking:
    """A chunk size that is none."""

    async def play(self, exchange: Exchange) -> None:
        exchange.write(format_head(200, (("Transfer-Encoding", "chunked"),)) + b"5\r\nhello\r\nzz\r\nworld\r\n")
        await exchange.wait_closed()


@dataclass(frozen=True, slots=True)
class HugeHeaders:
    """`count` headers of `value_bytes` each."""

    count: int = 1
    value_bytes: int = 64 * 1024

    async def play(self, exchange: Exchange) -> None:
        headers = tuple((f"X-Huge-{number}", "x" * self.value_bytes) for number in range(self.count))
        exchange.write(format_head(200, (*headers, ("Content-Length", "0"))))
        await exchange.drain()


@dataclass(frozen=True, slots=True)
class GzipBomb:
    """A gzip body of `members` members, each `member_bytes` when unpacked: 10 GB in 10 MB, or a million tiny ones."""

    members: int = 1000
    member_bytes: int = 10_000_000

    async def play(self, exchange: Exchange) -> None:
        member = gzip.compress(bytes(self.member_bytes))
        length = ("Content-Length", str(len(member) * self.members))
        exchange.write(format_head(200, (("Content-Encoding", "gzip"), length)))
        at_once = max(1, len(BLOCK) // len(member))
        for sent in range(0, self.members, at_once):
            exchange.write(member * min(at_once, self.members - sent))
            await exchange.drain()


@dataclass(frozen=True, slots=True)
class InformationalFlood:
    """`102 Processing` for ever, never a final answer."""

    async def play(self, exchange: Exchange) -> None:
        while True:
            exchange.write(format_head(102, ()) * 100)
            await exchange.drain()


@dataclass(frozen=True, slots=True)
class Garbage:
    """Bytes that are not HTTP."""

    sent: bytes = b"SSH-2.0-OpenSSH_9.2\r\n"

    async def play(self, exchange: Exchange) -> None:
        exchange.write(self.sent)
        await exchange.wait_closed()


Performance = (
    Slow
    | Hang
    | Drip
    | Reset
    | CloseUnanswered
    | HalfClose
    | LieAboutLength
    | EndlessBody
    | BadChunking
    | HugeHeaders
    | GzipBomb
    | InformationalFlood
    | Garbage
)
