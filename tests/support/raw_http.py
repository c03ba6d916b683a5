"""HTTP by hand, byte for byte: what no client library would send, over one connection as long as it is kept."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any

from yarl import URL

ANSWER_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class RawReply:
    """An answer. `headers`: lower-case names; `head`: as it came."""

    status: int
    headers: dict[str, str]
    body: bytes
    head: bytes

    @property
    def problem(self) -> tuple[int, str]:
        """Status and `id` of a problem."""
        assert "application/problem+json" == self.headers.get("content-type"), self.head + self.body
        problem = json.loads(self.body)
        assert self.status == problem["status"], self.body
        assert {"type", "id", "title", "detail", "status", "validation"} == problem.keys()
        return self.status, problem["id"]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class RawHttp:
    """An async context manager. `url`: whose host and port to connect to."""

    def __init__(self, url: str) -> None:
        parts = URL(url)
        self._address = parts.host or "", parts.port or 80
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def __aenter__(self) -> "RawHttp":
        return self

    async def __aexit__(self, *_: object) -> None:
        self._close()

    async def exchange(self, request: bytes, *, is_head: bool = False) -> RawReply:
        """Send these bytes as they are; the answer."""
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                if self._streams is None:
                    self._streams = await asyncio.open_connection(*self._address)
                self._streams[1].write(request)
                reply = await _read(self._streams[0], is_head=is_head)
        except BaseException:
            self._close()
            raise
        if reply.headers.get("connection") == "close" or reply.head.startswith(b"HTTP/1.0"):
            self._close()
        return reply

    def send(self, data: bytes) -> None:
        """Send these bytes over the connection that `exchange` has made, and wait for nothing."""
        assert self._streams is not None, "nothing was exchanged yet"
        self._streams[1].write(data)

    async def drip(self, first: bytes, more: bytes, *, every_s: float) -> RawReply:
        """Send `first`, then `more` again and again until there is an answer."""
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            reader, writer = self._streams = await asyncio.open_connection(*self._address)
            writer.write(first)
            answer = asyncio.create_task(_read(reader, is_head=False))
            while not (await asyncio.wait([answer], timeout=every_s))[0]:
                writer.write(more)
            return await answer

    def _close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    """RFC 9112 §7.1, without extensions and trailers."""
    body = b""
    while (size := int(await reader.readline(), 16)) > 0:
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readexactly(2)
    return body


async def _read(reader: asyncio.StreamReader, *, is_head: bool) -> RawReply:
    head = await reader.readuntil(b"\r\n\r\n")
    status_line, *lines = head.decode("latin-1").rstrip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if headers.get("transfer-encoding") == "chunked" and not is_head:
        body = await _read_chunks(reader)
    else:
        # a body that nothing announces is what comes before the connection ends
        is_closing = is_head and headers.get("connection") == "close"
        body = await (reader.read() if is_closing else reader.readexactly(0 if is_head else _read_length(headers)))
    return RawReply(int(status_line.split(" ")[1]), headers, body, head)


def _read_length(headers: dict[str, str]) -> int:
    return int(headers.get("content-length", 0))


def write_request(method: str, target: bytes, headers: dict[str, bytes], body: bytes | None = None) -> bytes:
    """The bytes of a request; `Host` and `Content-Length` are added unless they are given."""
    lines = {"Host": b"gateway.test"} | headers
    if body is not None:
        lines.setdefault("Content-Length", b"%d" % len(body))
    head = b"".join(b"%s: %s\r\n" % (name.encode(), value) for name, value in lines.items())
    return b"%s %s HTTP/1.1\r\n%s\r\n%s" % (method.encode(), target, head, body or b"")
