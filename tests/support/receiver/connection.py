"""One connection: bytes in, parsed requests to the books, behaviours played one after the other."""

import asyncio
import time
from collections import deque

import httptools

from tests.support.receiver.answers import Answer
from tests.support.receiver.books import Books
from tests.support.receiver.exchange import Exchange, Flow
from tests.support.receiver.requests import ParsedRequest, ReceivedRequest
from tests.support.receiver.script import Behaviour

NOT_HTTP = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Connection(asyncio.Protocol):
    """Requests that arrive while one is being answered wait their turn. Keeps itself in `open_ones` while it lives."""

    def __init__(self, number: int, books: Books, open_ones: "set[Connection]") -> None:
        self._number = number
        self._books = books
        self._open_ones = open_ones
        self._flow = Flow()
        self._waiting: deque[tuple[ReceivedRequest, Behaviour, bool]] = deque()
        self._playing: asyncio.Task[None] | None = None
        self._parser = httptools.HttpRequestParser(self)

    async def abort(self) -> None:
        """End at once; returns when nothing of it runs."""
        self._transport.abort()
        if self._playing is not None:
            self._playing.cancel()
            await asyncio.wait([self._playing])

    # asyncio calls these

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]  # of a stream server
        self._open_ones.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._open_ones.discard(self)
        self._flow.closed.set()
        self._flow.writable.set()
        if self._playing is not None:
            self._playing.cancel()

    def pause_writing(self) -> None:
        self._flow.writable.clear()

    def resume_writing(self) -> None:
        self._flow.writable.set()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._books.malformed.append(f"{type(error).__name__}: {error}")
            self._transport.write(NOT_HTTP)
            self._transport.close()

    # the parser calls these

    def on_message_begin(self) -> None:
        self._parsed = ParsedRequest(arrived_at_us=time.time_ns() // 1000, arrived_monotonic_s=time.monotonic())

    def on_url(self, url: bytes) -> None:
        self._parsed.target += url.decode("latin-1")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._parsed.headers.append((name.decode("latin-1"), value.decode("latin-1")))

    def on_body(self, body: bytes) -> None:
        self._parsed.body += body

    def on_message_complete(self) -> None:
        self._parsed.method = self._parser.get_method().decode("latin-1")
        request, behaviour = self._books.record(self._number, self._parsed)
        self._books.count_open(request.path, +1)
        self._waiting.append((request, behaviour, self._parser.should_keep_alive()))
        if self._playing is None:
            self._play_waiting()

    # answering

    def _play_waiting(self) -> None:
        while self._waiting:
            request, behaviour, _ = self._waiting[0]
            if not self._transport.is_closing():
                exchange = Exchange(
                    transport=self._transport, flow=self._flow, sent_bytes=self._books.sent_bytes, path=request.path
                )
                if not isinstance(behaviour, Answer):
                    self._playing = asyncio.create_task(behaviour.play(exchange))
                    self._playing.add_done_callback(self._on_played)
                    return
                # no task for what needs no waiting: the receiver shares its machine with what is measured
                exchange.write(behaviour.to_bytes())
            self._finish()

    def _on_played(self, task: "asyncio.Task[None]") -> None:
        self._playing = None
        self._finish()
        self._play_waiting()
        if not task.cancelled() and not isinstance(task.exception(), ConnectionError):
            task.result()  # a mistake in a behaviour: let the loop report it

    def _finish(self) -> None:
        request, _, keeps_alive = self._waiting.popleft()
        self._books.count_open(request.path, -1)
        if not keeps_alive:
            self._transport.close()
