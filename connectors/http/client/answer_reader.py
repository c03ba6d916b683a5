"""Bytes of one answer, into its status, headers and body, within bounds. No socket and no clock in here.

On llhttp (httptools), which costs a third of what aiohttp's client does.
"""

from typing import Any

import httptools

from connectors.http.client.exchange import Answer
from connectors.http.client.head import HeadReader, NotHttpError
from pipeline.core.events.headers import REDACTED, is_secret_name

VERSIONS = frozenset({"1.1", "1.0"})
HEADERS_MAX = 256
INTERIM_MAX = 16  # 1xx answers before the real one
# Bytes for chunk sizes, extensions and trailers around a body: eight times the body, and this.
FRAMING_FACTOR = 8
FRAMING_MIN_BYTES = 64 * 1024


class AnswerError(Exception):
    """The bytes are no answer, or no whole one. The message is for the attempt's detail."""


class EnoughError(Exception):
    """All that is wanted has been read: stops the parser."""


class AnswerReader:
    """`has_head`: the answer's head came in whole. `is_complete`: `build` gives all of the answer that is wanted.

    `is_last`: nothing may follow on this connection.
    """

    __slots__ = (
        "_body",
        "_body_size",
        "_head",
        "_headers",
        "_interim",
        "_is_head",
        "_limits",
        "_parser",
        "_size",
        "has_head",
        "is_complete",
        "is_last",
    )

    def __init__(self, *, is_head: bool, head_max_bytes: int, body_max_bytes: int) -> None:
        """`is_head`: of a HEAD request, whose answer has no body."""
        self._is_head = is_head
        self._limits = (head_max_bytes, body_max_bytes)
        self._parser: Any = httptools.HttpResponseParser(self)
        self._head = HeadReader()
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []
        self._body_size = self._interim = 0
        self._size = 0  # bytes of the head; once it is there, of all that came after it
        self.has_head = self.is_complete = self.is_last = False

    def feed(self, data: bytes) -> None:
        """Parse bytes that came. Raises `AnswerError`; the answer may be complete all the same (`is_complete`)."""
        self._size += len(data)
        try:
            self._parse(data)
        except NotHttpError as error:
            raise AnswerError(str(error)) from error
        except httptools.HttpParserUpgrade as error:
            raise AnswerError("the endpoint switched protocols") from error
        except httptools.HttpParserCallbackError as error:
            raise AnswerError(str(error.__context__ or error)) from error
        except httptools.HttpParserError as error:
            raise AnswerError(f"the answer is not HTTP: {error}") from error
        if not self.is_complete:
            self._check_sizes()

    @property
    def ends_with_connection(self) -> bool:
        """Does the body end where the connection does?"""
        names = {name.lower() for name, _ in self._headers}
        return self.has_head and b"content-length" not in names and b"transfer-encoding" not in names

    def build(self, problem: str | None = None) -> Answer:
        """The answer as far as it was read; its head is there. `problem`: why the body did not end as it should."""
        headers: dict[str, str] = {}
        for raw_name, raw_value in self._headers:
            name = raw_name.decode("latin-1").lower()
            value = REDACTED if is_secret_name(name) else raw_value.decode("latin-1")
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        return Answer(
            status=self._parser.get_status_code(), headers=headers, body=b"".join(self._body), body_problem=problem
        )

    # From the parser.

    def on_message_begin(self) -> None:
        if self.is_complete:
            # a second answer to one question, which must not be taken for that to the next: ends the connection
            raise EnoughError

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.has_head:
            return  # a trailer
        if len(self._headers) >= HEADERS_MAX:
            raise ValueError(f"the answer has more than {HEADERS_MAX} headers")
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        size, head_max_bytes = sum([len(name) + len(value) + 4 for name, value in self._headers]), self._limits[0]
        if size > head_max_bytes:
            raise ValueError(f"the answer's head has more than {head_max_bytes} bytes")
        if self._parser.get_http_version() not in VERSIONS:
            raise ValueError("the answer is not HTTP/1.1")
        status = self._parser.get_status_code()
        if status == 101:
            raise ValueError("the endpoint switched protocols")
        if status < 200:
            return
        self.has_head, self._size = True, 0
        if self._is_head:
            # llhttp would wait for the body that Content-Length speaks of
            self.is_last = self.is_complete = True

    def on_body(self, body: bytes) -> None:
        if self.is_complete:
            return
        room = self._limits[1] - self._body_size
        if len(body) > room:
            if room:
                self._body.append(body[:room])
            self.is_last = self.is_complete = True
            raise EnoughError
        self._body.append(body)
        self._body_size += len(body)

    def on_message_complete(self) -> None:
        if not self.has_head:  # an interim answer
            self._interim += 1
            if self._interim > INTERIM_MAX:
                raise ValueError(f"the endpoint sent more than {INTERIM_MAX} interim answers")
            self._headers = []
            self._size = 0
            return
        if not self._parser.should_keep_alive():
            self.is_last = True
        self.is_complete = True

    def _parse(self, data: bytes) -> None:
        while data and not self.has_head:  # interim answers come before the real one
            head, data = self._head.take(data)
            if head:
                self._parser.feed_data(head)
        if data:
            self._parser.feed_data(data)

    def _check_sizes(self) -> None:
        head_max_bytes, body_max_bytes = self._limits
        if not self.has_head:
            # looked at after parsing: one buffer may bring a short head and the start of a long body
            if self._size > head_max_bytes:
                raise AnswerError(f"the answer's head has more than {head_max_bytes} bytes")
        elif self._size > body_max_bytes * FRAMING_FACTOR + FRAMING_MIN_BYTES:
            raise AnswerError("the answer's chunks hold next to nothing")
