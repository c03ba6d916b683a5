"""A kept connection of the generator: one request at a time, as cheap as can be.

On asyncio's Protocol and llhttp (httptools). Of an answer it keeps the status, and of batches the body.
"""

import asyncio
from collections.abc import Callable
from typing import cast

import httptools

NO_ANSWER = 0  # stands for a status

# The connection, the answer's status (NO_ANSWER: it broke), the body (empty unless it was asked for).
Answered = Callable[["ClientConnection", int, bytes], None]


class ClientConnection(asyncio.Protocol):
    """`request`: the number of the request under way, for the sender."""

    __slots__ = ("_is_waiting", "_on_answer", "_parser", "_transport", "is_open", "request")

    def __init__(self, on_answer: Answered) -> None:
        self._on_answer = on_answer
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._is_waiting = False
        self.is_open = False
        self.request = -1

    def send(self, request: int, data: bytes) -> None:
        """Send a request. The connection must be open, and the answer to the one before have come."""
        self.request = request
        self._is_waiting = True
        assert self._transport is not None  # noqa: S101 - it is open
        self._transport.write(data)

    def close(self) -> None:
        """Close the connection; open requests get no answer."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.is_open = True

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError as error:
            raise error.__context__ or error from None  # ours, not the gateway's
        except httptools.HttpParserError:
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        self._transport = None
        self._end(NO_ANSWER, b"")

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if not self._parser.should_keep_alive():
            self.is_open = False
            self.close()
        self._end(status, self._take_body())

    def _end(self, status: int, body: bytes) -> None:
        if self._is_waiting:
            self._is_waiting = False
            self._on_answer(self, status, body)

    def _take_body(self) -> bytes:
        return b""


class ReadingConnection(ClientConnection):
    """A kept connection that keeps the answer's body."""

    __slots__ = ("_body",)

    def __init__(self, on_answer: Answered) -> None:
        super().__init__(on_answer)
        self._body: list[bytes] = []

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def _take_body(self) -> bytes:
        body, self._body = b"".join(self._body), []
        return body
