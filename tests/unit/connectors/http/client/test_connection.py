import asyncio
import itertools
import ssl
from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from connectors.http.client.answer_reader import FRAMING_FACTOR, FRAMING_MIN_BYTES, HEADERS_MAX, INTERIM_MAX
from connectors.http.client.connection import IDLE_MARGIN_S, IDLE_MAX_S, Connection, read_keep_alive_s
from connectors.http.client.exchange import Answer, ErrorClass, Failure, Request, Result
from connectors.http.client.origin import Origin

HEAD_MAX_BYTES, BODY_MAX_BYTES = 2048, 100
ORIGIN = Origin(False, "example.com", 80)
POST = Request(origin=ORIGIN, is_head=False, head=b"POST / HTTP/1.1\r\n\r\n", body=b"body")
HEAD = Request(origin=ORIGIN, is_head=True, head=b"HEAD / HTTP/1.1\r\n\r\n", body=b"")

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
PROCESSING = b"HTTP/1.1 102 Processing\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class Wire(asyncio.Transport):
    """A transport that leads nowhere. `unsent`: bytes that the other side has not taken yet."""

    def __init__(self, unsent: int = 0) -> None:
        super().__init__()
        self.written = b""
        self.is_aborted = False
        self.unsent = unsent

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def abort(self) -> None:
        self.is_aborted = True


def open_connection(wire: Wire | None = None) -> tuple[Connection, Wire]:
    wire = wire or Wire()
    connection = Connection(head_max_bytes=HEAD_MAX_BYTES, body_max_bytes=BODY_MAX_BYTES)
    connection.connection_made(wire)
    return connection, wire


def exchange(*parts: bytes, request: Request = POST, ends: bool = False) -> tuple[Result | None, Connection, Wire]:
    """Send, and be answered with `parts`; what came of it, None when it goes on."""
    connection, wire = open_connection()
    future = connection.send(request)
    for part in parts:
        connection.data_received(part)
    if ends:
        connection.eof_received()
    return (future.result() if future.done() else None), connection, wire


@pytest.mark.parametrize("step", [1, 7, 1000])
@pytest.mark.parametrize("fold", [b"\r\n ", b"\r\n\t", b"\r\n  \t ", b"\n "])
async def test_a_folded_line_is_one_line(fold: bytes, step: int) -> None:
    """RFC 9112, section 5.2: a client puts a space in its place; however the bytes come in."""
    answer = b"HTTP/1.1 200 OK\r\nX-A: one" + fold + b"two\r\nContent-Length: 2\r\n\r\nok"
    result, connection, _ = exchange(*(answer[at : at + step] for at in range(0, len(answer), step)))

    assert Answer(status=200, headers={"x-a": "one two", "content-length": "2"}, body=b"ok") == result
    assert connection.is_reusable


async def test_a_folded_first_line_is_refused() -> None:
    """RFC 9112, section 2.2: there is nothing that it continues."""
    result, _, _ = exchange(b"HTTP/1.1 200 OK\r\n X-A: 1\r\n\r\n")

    assert isinstance(result, Failure)


async def test_a_head_without_headers() -> None:
    """The empty line comes right behind the first."""
    result, _, _ = exchange(b"HTTP/1.1 204 No Content\r\n\r\n")

    assert isinstance(result, Answer)
    assert 204 == result.status


@pytest.mark.parametrize("before", [b"", PROCESSING])
@pytest.mark.parametrize("protocol", [b"RTSP/1.1", b"ICE/1.0", b"HTTPS/1.1", b"http/1.1", b"XHTTP/1.1", b" HTTP/1.1"])
@pytest.mark.parametrize("step", [1, 1000])
async def test_another_protocol_is_no_answer(protocol: bytes, before: bytes, step: int) -> None:
    """RFC 9112, section 2.3: `RTSP/1.1 200` has delivered nothing."""
    answer = before + protocol + b" 200 OK\r\nContent-Length: 2\r\n\r\nok"
    result, connection, _ = exchange(*(answer[at : at + step] for at in range(0, len(answer), step)))

    assert isinstance(result, Failure)
    assert (ErrorClass.CONNECTION, False) == (result.error_class, connection.is_reusable)


async def test_a_whole_answer() -> None:
    """Status, headers with lower-case names, repeated ones joined, and the body; the connection may be used again."""
    parts = b"HTTP/1.1 202 Accepted\r\nX-A: 1\r\nx-a: 2\r\nContent-Length: 2\r\n\r\nok"
    result, connection, wire = exchange(parts)

    assert Answer(status=202, headers={"x-a": "1, 2", "content-length": "2"}, body=b"ok") == result
    assert POST.head + POST.body == wire.written
    assert connection.is_reusable
    assert not wire.is_aborted


@given(st.lists(st.integers(0, 150), max_size=10))
async def test_how_it_is_cut_into_packets_does_not_matter(cuts: list[int]) -> None:
    """Equal bytes make equal answers."""
    whole = PROCESSING + CHUNKED + b"3;a=b\r\nabc\r\n2\r\nde\r\n0\r\nX-Trailer: 1\r\n\r\n"
    bounds = [0, *sorted(cuts), len(whole)]
    parts = [part for start, end in itertools.pairwise(bounds) if (part := whole[start:end])]
    result, connection, _ = exchange(*parts)

    assert Answer(status=200, headers={"transfer-encoding": "chunked"}, body=b"abcde") == result
    assert connection.is_reusable


async def test_nothing_secret_is_kept() -> None:
    """Cookies and the like that an endpoint sets are not for the archive."""
    result, _, _ = exchange(b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nServer: x\r\nContent-Length: 0\r\n\r\n")

    assert isinstance(result, Answer)
    assert {"set-cookie": "(redacted)", "server": "x", "content-length": "0"} == result.headers


@pytest.mark.parametrize(
    "end",
    [
        b"x" * (BODY_MAX_BYTES + 1),
        b"x" * 300_000,
    ],
)
@pytest.mark.parametrize("framing", [b"Content-Length: 1000000000000\r\n\r\n", b"\r\n"])
async def test_a_long_body_is_cut(framing: bytes, end: bytes) -> None:
    """The rest over the limit is not waited for, and the connection is dropped at once: success stays success."""
    result, connection, wire = exchange(b"HTTP/1.1 200 OK\r\n" + framing, end)

    assert isinstance(result, Answer)
    assert b"x" * BODY_MAX_BYTES == result.body
    assert result.body_problem is None
    assert wire.is_aborted
    assert not connection.is_reusable


async def test_a_body_of_the_longest_length_is_whole() -> None:
    """The limit itself is not over the limit."""
    whole = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % BODY_MAX_BYTES + b"x" * BODY_MAX_BYTES
    result, connection, _ = exchange(whole)

    assert isinstance(result, Answer)
    assert b"x" * BODY_MAX_BYTES == result.body
    assert connection.is_reusable


async def test_chunks_of_nothing_end() -> None:
    """A body that is nearly all framing does not go on for ever: the answer counts, and says why it was cut."""
    connection, wire = open_connection()
    future = connection.send(POST)
    connection.data_received(CHUNKED)
    sent = 0
    while not future.done():
        connection.data_received(b"1;" + b"x" * 10_000 + b"\r\na\r\n")
        sent += 10_000
        assert sent < BODY_MAX_BYTES * FRAMING_FACTOR + FRAMING_MIN_BYTES + 20_000

    result = future.result()
    assert isinstance(result, Answer)
    assert "the answer's chunks hold next to nothing" == result.body_problem
    assert wire.is_aborted


@pytest.mark.parametrize("end", ["eof", "reset", "garbage", "time"])
async def test_a_broken_body_leaves_the_answer(end: str) -> None:
    """The status line decides. A body that is reset, ends early, is nonsense or too slow is kept as far as it came."""
    connection, wire = open_connection()
    future = connection.send(POST)
    connection.data_received(CHUNKED + b"5\r\nhello\r\n")
    result: Result | None
    match end:
        case "eof":
            connection.eof_received()
            result = future.result()
        case "reset":
            connection.connection_lost(ConnectionResetError())
            result = future.result()
        case "garbage":
            connection.data_received(b"zz\r\n")
            result = future.result()
        case _:
            connection.time_out("no whole answer within 1 s")
            result = future.result()

    assert isinstance(result, Answer)
    assert (200, b"hello") == (result.status, result.body)
    assert result.body_problem
    assert not connection.is_reusable
    assert wire.is_aborted or end == "reset"


async def test_a_body_without_length_ends_with_its_connection() -> None:
    """The connection's end is no problem then."""
    result, connection, _ = exchange(b"HTTP/1.0 200 OK\r\n\r\nhello", ends=True)

    assert Answer(status=200, headers={}, body=b"hello") == result
    assert not connection.is_reusable


@pytest.mark.parametrize(
    ("parts", "detail"),
    [
        ([b"SSH-2.0-OpenSSH_9.2\r\n"], "the answer is not HTTP"),
        ([b"\x16\x03\x01\x02\x00\x01"], "the answer is not HTTP"),
        ([b"HTTP/2.0 200 OK\r\n\r\n"], "the answer is not HTTP"),
        ([b"HTTP/1.1 two hundred\r\n\r\n"], "the answer is not HTTP"),
        ([b"HTTP/1.1 200 OK\r\nNo colon\r\n\r\n"], "the answer is not HTTP"),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"], "the answer is not HTTP"),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n"], "the answer is not HTTP"),
        ([b"HTTP/1.1 200 OK\r\nX: " + b"x" * HEAD_MAX_BYTES], "the answer's head has more than 2048 bytes"),
        (
            [b"HTTP/1.1 200 OK\r\nX: " + b"x" * HEAD_MAX_BYTES + b"\r\n\r\n"],
            "the answer's head has more than 2048 bytes",
        ),
        ([b"HTTP/1.1 200 " + b"x" * 1000] * 3, "the answer's head has more than 2048 bytes"),
        (
            [b"HTTP/1.1 200 OK\r\n" + b"a:\r\n" * (HEADERS_MAX + 1) + b"\r\n"],
            f"the answer has more than {HEADERS_MAX} headers",
        ),
        ([PROCESSING] * (INTERIM_MAX + 1), f"the endpoint sent more than {INTERIM_MAX} interim answers"),
        ([PROCESSING * 100_000], f"the endpoint sent more than {INTERIM_MAX} interim answers"),
        ([b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"], "the endpoint switched"),
        ([b"HTTP/1.1 101 Switching Protocols\r\n\r\nSSH-2.0"], "the endpoint switched protocols"),
    ],
)
async def test_no_answer_at_all(parts: list[bytes], detail: str) -> None:
    """An answer without a proper head within the limits is a failed connection, and says how it failed."""
    result, connection, wire = exchange(*parts)

    assert isinstance(result, Failure)
    assert ErrorClass.CONNECTION == result.error_class
    assert detail in result.detail
    assert wire.is_aborted
    assert not connection.is_reusable


@pytest.mark.parametrize("part", [b"", b"HTTP/1.1 200 O", PROCESSING])
async def test_an_end_before_the_answer(part: bytes) -> None:
    """Closed or reset before the head was complete: nothing is known of the request."""
    closed, _, _ = exchange(*[part] * bool(part), ends=True)
    connection, _ = open_connection()
    future = connection.send(POST)
    if part:
        connection.data_received(part)
    connection.connection_lost(ConnectionResetError())
    reset = future.result()

    assert isinstance(closed, Failure)
    assert isinstance(reset, Failure)
    assert "the endpoint closed the connection before its answer was complete" == closed.detail
    assert "the connection was reset before the answer was complete" == reset.detail


async def test_a_kept_connection_that_ends_says_so() -> None:
    """The one failure that is not the endpoint's fault is told from the others."""
    connection, _ = open_connection()
    connection.send(POST)
    connection.data_received(OK)
    connection.rest(0.0)
    future = connection.send(POST)
    connection.eof_received()

    result = future.result()
    assert isinstance(result, Failure)
    assert "the endpoint closed the kept connection before its answer was complete" == result.detail


async def test_a_tls_alert_is_put_into_words() -> None:
    """TLS 1.3 reports a missing client certificate only after the handshake."""
    connection, _ = open_connection()
    future = connection.send(POST)
    alert = ssl.SSLError(1, "[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] tlsv13 alert certificate required (_ssl.c:2580)")
    alert.reason = "TLSV13_ALERT_CERTIFICATE_REQUIRED"
    connection.connection_lost(alert)

    result = future.result()
    assert isinstance(result, Failure)
    assert "TLS failed: the endpoint asks for a client certificate" == result.detail


@pytest.mark.parametrize(
    "end",
    [
        *(OK, b"x", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe", b"HTTP/1.1", b"SSH-2.0\r\n", b"\x00" * 10_000),
    ],
)
async def test_an_answer_too_many_is_not_taken_for_the_next_one(end: bytes) -> None:
    """Bytes that follow an answer unasked, in the same packet or later, end the connection."""
    together, connection_1, wire_1 = exchange(OK + end)
    apart, connection_2, wire_2 = exchange(OK, end)

    assert isinstance(together, Answer)
    assert (200, b"ok", None) == (together.status, together.body, together.body_problem)
    assert together == apart
    assert not connection_1.is_reusable
    assert not connection_2.is_reusable
    assert wire_1.is_aborted
    assert wire_2.is_aborted


@pytest.mark.parametrize("header", [b"Connection: close\r\n", b"Connection: Close, x\r\n"])
async def test_a_connection_that_the_endpoint_closes_is_not_kept(header: bytes) -> None:
    """The endpoint says so in a header."""
    result, connection, wire = exchange(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + header + b"\r\n")

    assert isinstance(result, Answer)
    assert not connection.is_reusable
    assert wire.is_aborted


async def test_an_answer_before_the_request_was_read() -> None:
    """The rest of the request would be taken for the next one, so the connection is dropped."""
    connection, wire = open_connection(Wire(unsent=1))
    future = connection.send(POST)
    connection.data_received(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")

    assert isinstance(future.result(), Answer)
    assert not connection.is_reusable
    assert wire.is_aborted


@pytest.mark.parametrize("framing", [b"Content-Length: 5\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n", b"\r\n"])
async def test_a_head_request_has_no_body(framing: bytes) -> None:
    """The answer is complete with its head, whatever length it states, and any bytes behind it are dropped."""
    for behind in (b"", b"hello", b"5\r\nhello\r\n"):
        result, connection, _ = exchange(b"HTTP/1.1 200 OK\r\n" + framing + behind, request=HEAD)

        assert isinstance(result, Answer)
        assert b"" == result.body
        assert not connection.is_reusable


async def test_nothing_is_unpacked() -> None:
    """A compressed body is kept as the bytes it is."""
    packed = b"\x1f\x8b" + b"\x00" * 20
    result, _, _ = exchange(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 22\r\n\r\n" + packed)

    assert isinstance(result, Answer)
    assert packed == result.body


async def test_sending_on_a_closed_connection() -> None:
    """Sending fails as an outcome, not as an error."""
    connection, _ = open_connection()
    connection.close()
    result = await connection.send(POST)

    assert isinstance(result, Failure)


@given(
    st.lists(
        st.binary(max_size=300) | st.sampled_from([OK, PROCESSING, CHUNKED, b"5\r\nhello\r\n", b"0\r\n\r\n"]),
        max_size=8,
    ),
    st.booleans(),
    st.sampled_from(["eof", "lost", "reset", "time"]),
)
@example([OK + OK], False, "eof")
@example([b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551616\r\n\r\n"], False, "eof")
async def test_arbitrary_bytes_raise_nothing(parts: Sequence[bytes], is_head: bool, end: str) -> None:
    """Any bytes, in any pieces, come to an outcome within the limits, and to no exception."""
    connection, _ = open_connection()
    future = connection.send(HEAD if is_head else POST)
    for part in parts:
        connection.data_received(part)
    match end:
        case "eof":
            connection.eof_received()
            connection.connection_lost(None)
        case "lost":
            connection.connection_lost(None)
        case "reset":
            connection.connection_lost(ConnectionResetError())
        case _:
            connection.time_out("time")

    result = future.result()
    if isinstance(result, Answer):
        assert result.status == 101 or result.status >= 200
        assert len(result.body) <= BODY_MAX_BYTES
    elif isinstance(result, Failure):
        assert result.detail


@given(st.binary(max_size=60), st.integers(0, 200), st.integers(0, 60))
async def test_an_answer_with_some_bytes_replaced_raises_nothing(junk: bytes, start: int, length: int) -> None:
    """Near misses are as harmless as nonsense."""
    whole = b"HTTP/1.1 200 OK\r\nA: b\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nB: c\r\n\r\n"
    result, connection, _ = exchange(whole[:start] + junk + whole[start + length :], ends=True)

    assert isinstance(result, Answer | Failure)
    assert not connection.is_reusable


@pytest.mark.parametrize(
    ("value", "expected_s"),
    [("timeout=2", 2), ("timeout=5, max=100", 5), ("max=3, Timeout=1", 1), ("timeout=999999999999", 999_999)],
)
def test_how_long_the_endpoint_keeps_connections(value: str, expected_s: float) -> None:
    """The endpoint may say so in a header."""
    assert expected_s == read_keep_alive_s(value)


@given(st.text())
def test_what_it_says_may_make_no_sense(value: str) -> None:
    """Our own bound holds then."""
    assert read_keep_alive_s(value) >= 0
    assert IDLE_MAX_S + IDLE_MARGIN_S == read_keep_alive_s("max=2, timeout=soon, timeout=-1")


async def test_a_kept_connection_goes_stale_before_the_endpoint_closes_it() -> None:
    """The endpoint's announcement or our own bound ends it, whichever is shorter."""
    connection, _ = open_connection()
    connection.send(POST)
    connection.data_received(b"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=2\r\nContent-Length: 0\r\n\r\n")
    connection.rest(100.0)

    assert connection.is_fresh(101.4)
    assert not connection.is_fresh(101.5)

    connection.send(POST)
    connection.data_received(b"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=60\r\nContent-Length: 0\r\n\r\n")
    connection.rest(100.0)

    assert connection.is_fresh(103.9)
    assert not connection.is_fresh(104.0)
