"""One kept connection to an endpoint: sends a request, waits for the answer (`answer_reader`).

The status line decides. Once an answer's head has come in whole it is an answer, however its body ends: the endpoint
has said what it did, and the body is only kept to be shown.
"""

import asyncio
import select
import ssl
import time
from typing import cast

from connectors.http.client.answer_reader import AnswerError, AnswerReader
from connectors.http.client.exchange import Certificate, ErrorClass, Failure, Request, Result
from connectors.http.client.shortage import find_shortage

# Servers close idle connections after 5 s and more. A request that meets the closing is a failed attempt, since it
# may have been read, so connections are given up a little earlier than that.
IDLE_MAX_S = 4.0
APART_MIN_BYTES = 32 * 1024
IDLE_MARGIN_S = 0.5  # before the time that the server itself names


class Connection(asyncio.Protocol):
    """A connection with at most one exchange at a time. `is_reusable` says whether there may be another."""

    __slots__ = (
        "_done",
        "_idle_max_s",
        "_idle_since_s",
        "_limits",
        "_poll",
        "_reader",
        "_transport",
        "certificate",
        "first_byte_at_s",
        "is_open",
        "is_reusable",
        "made_at_s",
    )

    def __init__(self, *, head_max_bytes: int, body_max_bytes: int) -> None:
        self._limits = (head_max_bytes, body_max_bytes)
        self._transport: asyncio.Transport | None = None
        self._poll: select.poll | None = None
        self._done: asyncio.Future[Result] | None = None
        self._idle_max_s = IDLE_MAX_S
        self._idle_since_s: float | None = None  # None: no exchange has ended well
        self.first_byte_at_s = 0.0  # when the answer began (monotonic); 0: it has not
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
        head_max_bytes, body_max_bytes = self._limits
        self._reader = AnswerReader(
            is_head=request.is_head, head_max_bytes=head_max_bytes, body_max_bytes=body_max_bytes
        )
        self.first_byte_at_s = 0.0
        if self._transport is None or not self.is_open:
            self._fail("the connection was closed")
        else:
            if len(request.body) < APART_MIN_BYTES:
                self._transport.write(request.head + request.body)
            else:  # a copy for each request would be memory of each
                self._transport.writelines((request.head, request.body))
        return self._done

    def rest(self, now_s: float) -> None:
        """An exchange has ended well, and there may be another one."""
        self._idle_since_s = now_s

    def is_fresh(self, now_s: float) -> bool:
        """Has the connection been idle for so short that its endpoint still keeps it?"""
        return self.is_reusable and now_s - (self._idle_since_s or 0.0) < self._idle_max_s

    def is_quiet(self) -> bool:
        """Is there nothing to be read? An idle connection can only report its end."""
        return self._poll is None or not self._poll.poll(0)

    def time_out(self, problem: str) -> None:
        """End the exchange under way because time is up: the answer as far as it came; a failure without its head."""
        done = self._done
        if done is None or done.done():
            return
        if self._reader.has_head:
            done.set_result(self._reader.build(problem))
        else:
            done.set_result(Failure(error_class=ErrorClass.TIMEOUT, detail=problem))
        self.close()

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
            # no request is open: these bytes must not be taken for the next answer
            self.close()
            return
        if not self.first_byte_at_s:
            self.first_byte_at_s = time.monotonic()
        try:
            self._reader.feed(data)
        except AnswerError as error:
            if self._reader.is_complete:
                self._finish()
            self._fail(str(error))
        else:
            if self._reader.is_complete:
                self._finish()

    def eof_received(self) -> bool:
        self.is_reusable = False
        if self._done is not None and not self._done.done():
            if self._reader.ends_with_connection:
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

    def _name_kind(self) -> str:
        return "kept connection" if self._idle_since_s is not None and not self.first_byte_at_s else "connection"

    def _finish(self, problem: str | None = None) -> None:
        done = self._done
        if done is None or done.done():
            return
        answer = self._reader.build(problem)
        if "keep-alive" in answer.headers:
            self._idle_max_s = min(IDLE_MAX_S, read_keep_alive_s(answer.headers["keep-alive"]) - IDLE_MARGIN_S)
        done.set_result(answer)
        if self._reader.is_last:
            self.is_reusable = False
        if self._transport is not None and self._transport.get_write_buffer_size():
            # answered before the request was read: the rest of it would be read as the next request
            self.is_reusable = False
        if not self.is_reusable:
            self.close()

    def _fail(self, detail: str, error_class: ErrorClass = ErrorClass.CONNECTION) -> None:
        """End the exchange, if it has not ended; in any case the connection is of no more use."""
        self.is_reusable = False
        if self._done is not None and not self._done.done():
            if self._reader.has_head:
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
