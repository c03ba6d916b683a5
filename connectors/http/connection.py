"""One kept connection to an endpoint: sends a request, reads the answer, within bounds.

The status line decides. Once an answer's head has come in whole it is an answer, however its body ends: the endpoint
has said what it did, and the body is only kept to be shown.

On asyncio's Protocol and llhttp (httptools), which costs a third of what aiohttp's client does.
"""

import asyncio
import select
import ssl
import time
from typing import Any, cast

import httptools

from connectors.http.exchange import Answer, Certificate, ErrorClass, Failure, Request, Result
from connectors.http.head import HeadReader, NotHttpError
from connectors.http.shortage import find_shortage
from pipeline.core.headers import REDACTED, is_secret_name

VERSIONS = frozenset({"1.1", "1.0"})
HEADERS_MAX = 256
INTERIM_MAX = 16  # 1xx answers before the real one
# Bytes for chunk sizes, extensions and trailers around a body: eight times the body, and this.
FRAMING_FACTOR = 8
FRAMING_MIN_BYTES = 64 * 1024
# Servers close idle connections after 5 s and more. A request that meets the closing is a failed attempt, since nobody
# can tell whether it was read, so connections are given up a little earlier than that.
IDLE_MAX_S = 4.0
IDLE_MARGIN_S = 0.5  # before the time that the server itself names


class EnoughError(Exception):
    """All that is wanted has been read: stops the parser."""


class Connection(asyncio.Protocol):
    """At most one exchange at a time. `is_reusable` says whether there may be another."""

    __slots__ = (
        "_body",
        "_body_max_bytes",
        "_body_size",
        "_done",
        "_first_byte_at_s",
        "_framed_size",
        "_head",
        "_head_max_bytes",
        "_head_size",
        "_headers",
        "_idle_max_s",
        "_idle_since_s",
        "_in_body",
        "_interim",
        "_is_head",
        "_is_used",
        "_parser",
        "_poll",
        "_transport",
        "certificate",
        "is_open",
        "is_reusable",
        "made_at_s",
    )

    def __init__(self, *, head_max_bytes: int, body_max_bytes: int) -> None:
        self._head_max_bytes = head_max_bytes
        self._body_max_bytes = body_max_bytes
        self._transport: asyncio.Transport | None = None
        self._poll: select.poll | None = None
        self._done: asyncio.Future[Result] | None = None
        self._parser: Any = None
        self._in_body = False
        self._is_used = False
        self._first_byte_at_s = 0.0
        self._idle_max_s = IDLE_MAX_S
        self._idle_since_s = 0.0
        self.is_open = False
        self.is_reusable = False
        self.made_at_s = 0.0
        self.certificate: Certificate | None = None  # without TLS

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.is_open = self.is_reusable = True
        self.made_at_s = time.monotonic()
        sock = transport.get_extra_info("socket")
        if sock is not None and hasattr(select, "poll"):  # not on Windows
            self._poll = select.poll()
            self._poll.register(sock.fileno(), select.POLLIN)

    def send(self, request: Request) -> "asyncio.Future[Result]":
        """Send; the future resolves with the answer, or a failure. Never raises."""
        self._done = asyncio.get_running_loop().create_future()
        self._parser = httptools.HttpResponseParser(self)
        self._head = HeadReader()
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []
        self._body_size = self._head_size = self._framed_size = self._interim = 0
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

    def rest(self, now_s: float) -> None:
        """An exchange has ended well, and there may be another one."""
        self._is_used = True
        self._idle_since_s = now_s

    def is_fresh(self, now_s: float) -> bool:
        """Has it been idle for so short that its endpoint still keeps it?"""
        return self.is_reusable and now_s - self._idle_since_s < self._idle_max_s

    def is_quiet(self) -> bool:
        """Is there nothing to be read? What an idle connection has to say is that it ends."""
        return self._poll is None or not self._poll.poll(0)

    def give_up(self, problem: str) -> Answer | None:
        """End the exchange under way because time is up: what there is of an answer, None without its head."""
        answer = self._build_answer(problem) if self._in_body else None
        self.close()
        return answer

    def close(self) -> None:
        """Drop the connection at once; an exchange that is under way ends without a result."""
        self.is_open = self.is_reusable = False
        self._poll = None
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
        if self._in_body:
            self._framed_size += len(data)
        else:
            self._head_size += len(data)
        try:
            self._feed(data)
        except NotHttpError as error:
            self._fail(str(error))
        except httptools.HttpParserUpgrade:
            self._fail("the endpoint switched protocols")
        except httptools.HttpParserCallbackError as error:
            self._fail(str(error.__context__ or error))
        except httptools.HttpParserError as error:
            self._fail(f"the answer is not HTTP: {error}")
        else:
            self._check_sizes()

    def _feed(self, data: bytes) -> None:
        while data and not self._in_body:  # interim answers come before the real one
            head, data = self._head.take(data)
            if head:
                self._parser.feed_data(head)
        if data:
            self._parser.feed_data(data)

    def eof_received(self) -> bool:
        self.is_reusable = False
        if self._done is not None and not self._done.done():
            if self._in_body and self._ends_with_connection():
                self._finish()
            else:
                self._fail(f"the endpoint closed the {self._name_kind()} before its answer was complete")
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = self.is_reusable = False
        self._transport = self._poll = None
        if self._done is None or self._done.done():
            return
        shortage = find_shortage(exc) if exc is not None else None
        if shortage is not None:
            self._fail(shortage, ErrorClass.LOCAL)
        elif isinstance(exc, ssl.SSLError):
            self._fail(f"TLS failed: {describe_tls_error(exc)}")
        else:
            how = "reset" if exc is not None else "closed"
            self._fail(f"the {self._name_kind()} was {how} before the answer was complete")

    # From the parser.

    def on_message_begin(self) -> None:
        if self._done is not None and self._done.done():
            # a second answer to one question, which must not be taken for that to the next: ends the connection
            raise EnoughError

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_body:
            return  # a trailer
        if len(self._headers) >= HEADERS_MAX:
            raise ValueError(f"the answer has more than {HEADERS_MAX} headers")
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        size = sum([len(name) + len(value) + 4 for name, value in self._headers])
        if size > self._head_max_bytes:
            raise ValueError(f"the answer's head has more than {self._head_max_bytes} bytes")
        if self._parser.get_http_version() not in VERSIONS:
            raise ValueError("the answer is not HTTP/1.1")
        status = self._parser.get_status_code()
        if status == 101:
            raise ValueError("the endpoint switched protocols")
        if status < 200:
            return
        self._in_body = True
        if self._is_head:
            # llhttp would wait for the body that Content-Length speaks of
            self.is_reusable = False
            self._finish()

    def on_body(self, body: bytes) -> None:
        room = self._body_max_bytes - self._body_size
        if len(body) > room:
            if room:
                self._body.append(body[:room])
            self.is_reusable = False
            self._finish()
            raise EnoughError
        self._body.append(body)
        self._body_size += len(body)

    def on_message_complete(self) -> None:
        if not self._in_body:  # an interim answer
            self._interim += 1
            if self._interim > INTERIM_MAX:
                raise ValueError(f"the endpoint sent more than {INTERIM_MAX} interim answers")
            self._headers = []
            self._head_size = 0
            return
        if not self._parser.should_keep_alive():
            self.is_reusable = False
        self._finish()

    def _check_sizes(self) -> None:
        if self._done is None or self._done.done():
            return
        if not self._in_body:
            # looked at after parsing: one buffer may bring a short head and the start of a long body
            if self._head_size > self._head_max_bytes:
                self._fail(f"the answer's head has more than {self._head_max_bytes} bytes")
        elif self._framed_size > self._body_max_bytes * FRAMING_FACTOR + FRAMING_MIN_BYTES:
            self._fail("the answer's chunks hold next to nothing")

    def _name_kind(self) -> str:
        return "kept connection" if self._is_used and not self._first_byte_at_s else "connection"

    def _ends_with_connection(self) -> bool:
        names = {name.lower() for name, _ in self._headers}
        return b"content-length" not in names and b"transfer-encoding" not in names

    def _build_answer(self, problem: str | None) -> Answer:
        headers: dict[str, str] = {}
        for raw_name, raw_value in self._headers:
            name = raw_name.decode("latin-1").lower()
            value = REDACTED if is_secret_name(name) else raw_value.decode("latin-1")
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        if "keep-alive" in headers:
            self._idle_max_s = min(IDLE_MAX_S, read_keep_alive_s(headers["keep-alive"]) - IDLE_MARGIN_S)
        return Answer(
            status=self._parser.get_status_code(), headers=headers, body=b"".join(self._body), body_problem=problem
        )

    def _finish(self, problem: str | None = None) -> None:
        done = self._done
        if done is None or done.done():
            return
        done.set_result(self._build_answer(problem))
        if self._transport is not None and self._transport.get_write_buffer_size():
            # answered before the request was read: what is left of it would be read as the next one
            self.is_reusable = False
        if not self.is_reusable:
            self.close()

    def _fail(self, detail: str, error_class: ErrorClass = ErrorClass.CONNECTION) -> None:
        """End the exchange, if it has not ended; in any case the connection is of no more use."""
        self.is_reusable = False
        if self._done is not None and not self._done.done():
            if self._in_body:
                self._finish(detail)
            else:
                self._done.set_result(Failure(error_class=error_class, detail=detail))
        self.close()


def read_keep_alive_s(value: str) -> float:
    """Seconds a server keeps an idle connection, from its `Keep-Alive` header; as long as we do if it does not say."""
    for word in value.split(","):
        name, _, number = word.strip().partition("=")
        if name.lower() == "timeout" and number.isascii() and number.isdigit():
            return float(number[:6])
    return IDLE_MAX_S + IDLE_MARGIN_S


def describe_tls_error(error: ssl.SSLError) -> str:
    """The reason in words, without OpenSSL's file and line."""
    reason = (error.reason or "").replace("_", " ").lower()
    if "certificate required" in reason:
        return "the endpoint asks for a client certificate"
    return reason or "the connection was not understood"
