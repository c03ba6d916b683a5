import asyncio
import gzip
import re
import ssl
from pathlib import Path

import aiohttp
import pytest

from tests.support.certificates import Authority
from tests.support.eventually import eventually
from tests.support.receiver import (
    BadChunking,
    CloseUnanswered,
    Drip,
    EndlessBody,
    FailTimes,
    Garbage,
    Gone,
    GzipBomb,
    HalfClose,
    Hang,
    HugeHeaders,
    InformationalFlood,
    LieAboutLength,
    Ok,
    Receiver,
    Redirect,
    Reset,
    Slow,
    Step,
    TooMany,
)

REQUEST = b"POST /x?q=1 HTTP/1.1\r\nHost: a\r\nX-B: 1\r\nx-a: 2\r\nX-B: 3\r\nContent-Length: 4\r\n\r\n\x00\xffhi"


async def connect(receiver: Receiver) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", receiver.port, limit=1 << 20)


async def play(step: Step, *, read_bytes: int = -1) -> bytes:
    """Send one request to a receiver that behaves like `step`; what came back until the end, or `read_bytes` of it."""
    async with Receiver(default=step) as receiver:
        reader, writer = await connect(receiver)
        writer.write(REQUEST)
        async with asyncio.timeout(30):
            answer = await (reader.read() if read_bytes < 0 else reader.readexactly(read_bytes))
        writer.close()
        return answer


async def test_a_request_is_recorded_as_it_came() -> None:
    """Header order, case and repetition, query and body bytes are those on the wire, and the times are of arrival."""
    async with Receiver() as receiver, aiohttp.ClientSession() as session:
        reader, writer = await connect(receiver)
        writer.write(REQUEST[:30])
        await writer.drain()
        writer.write(REQUEST[30:])
        assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
        writer.close()
        async with session.put(receiver.url("/y"), data=b"second") as response:
            assert await response.read() == b"ok"

        first, second = receiver.requests()
        assert (first.method, first.target, first.path) == ("POST", "/x?q=1", "/x")
        assert first.headers == (("Host", "a"), ("X-B", "1"), ("x-a", "2"), ("X-B", "3"), ("Content-Length", "4"))
        assert first.body == b"\x00\xffhi"
        assert (first.number, second.number) == (1, 2)
        assert first.connection != second.connection
        assert first.arrived_monotonic_s <= second.arrived_monotonic_s
        assert first.arrived_at_us <= second.arrived_at_us
        assert [second] == receiver.requests("/y")
        assert receiver.malformed == []


async def test_scripts_answer_in_order_over_one_connection() -> None:
    """The connection is kept; each path follows its own script."""
    async with Receiver() as receiver, aiohttp.ClientSession() as session:
        receiver.script("/a", FailTimes(1), TooMany(7), Gone())
        receiver.script("/b", Redirect("/elsewhere"))
        seen = []
        for path in ("/a", "/a", "/b", "/a", "/c"):
            async with session.post(receiver.url(path), allow_redirects=False) as response:
                seen.append((response.status, response.headers.get("Retry-After"), response.headers.get("Location")))

        expected = [
            (500, None, None),
            (429, "7", None),
            (302, None, "/elsewhere"),
            (410, None, None),
            (200, None, None),
        ]
        assert expected == seen
        assert len({request.connection for request in receiver.requests()}) == 1
        assert receiver.open_connections == 1


async def test_requests_in_flight_are_counted() -> None:
    """Now and at most, by path; one whose client has gone is in flight no more."""
    async with Receiver() as receiver:
        receiver.script("/quick", Ok())
        receiver.script("/hang", Hang())
        async with aiohttp.ClientSession() as session:
            hanging = [asyncio.create_task(session.post(receiver.url("/hang"))) for _ in range(3)]
            await eventually(lambda: receiver.open_requests == 3)
            await session.post(receiver.url("/quick"))
            await eventually(lambda: receiver.open_requests == 3)
            for task in hanging:
                task.cancel()
            await eventually(lambda: receiver.open_requests == 0)

        assert receiver.max_open("/hang") == 3
        assert receiver.max_open("/quick") == 1
        assert receiver.max_open() == 4
        assert receiver.max_open("/never asked") == 0
        await eventually(lambda: receiver.open_connections == 0)


async def test_pipelined_requests_are_answered_in_order() -> None:
    """A slow answer is not overtaken by a quick one on the same connection."""
    async with Receiver() as receiver:
        receiver.script("/x", Slow(50), TooMany(), Gone())
        reader, writer = await connect(receiver)
        writer.write(REQUEST * 2 + REQUEST.replace(b"Host: a", b"Connection: close"))
        answer = await reader.read()
        writer.close()

        assert re.findall(rb"HTTP/1.1 (\d+)", answer) == [b"200", b"429", b"410"]


async def test_what_is_not_http_is_noted() -> None:
    """A client that writes nonsense is not recorded as a request, and does not go unnoticed."""
    async with Receiver() as receiver:
        reader, writer = await connect(receiver)
        writer.write(b"POST / HTTP/1.1\r\nContent-Length: many\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
        writer.close()

        assert receiver.requests() == []
        assert len(receiver.malformed) == 1


@pytest.mark.parametrize("within", ["request", "head", "body"])
async def test_reset_is_an_rst(within: str) -> None:
    """The client's read fails, instead of ending in order."""
    step = {"request": Reset("request"), "head": Reset("head"), "body": Reset("body")}[within]

    with pytest.raises(ConnectionResetError):
        await play(step)


async def test_orderly_ends_that_are_wrong_all_the_same() -> None:
    """No answer, a body shorter or longer than announced, half of one with the other direction left open."""
    assert await play(CloseUnanswered()) == b""
    assert (await play(LieAboutLength(1000, 10))).endswith(b"Content-Length: 1000\r\n\r\n" + b"x" * 10)
    assert (await play(LieAboutLength(3, 10))).endswith(b"Content-Length: 3\r\n\r\n" + b"x" * 10)
    assert (await play(HalfClose())).endswith(b"Content-Length: 1000\r\n\r\n" + b"x" * 500)


async def test_drips_come_byte_by_byte() -> None:
    """The head drips, or the body after a whole head; the end is far away."""
    assert await play(Drip("head", interval_s=0.001), read_bytes=40) == b"HTTP/1.1 200 OK\r\nContent-Length: 1000000"
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"
    assert await play(Drip("body", interval_s=0.001), read_bytes=len(head) + 5) == head + b"xxxxx"


async def test_answers_that_break_clients() -> None:
    """Chunk sizes that are none, huge heads, no HTTP at all, a million interim answers."""
    assert b"\r\n\r\n5\r\nhello\r\nzz\r\n" in await play(BadChunking(), read_bytes=61)
    assert (await play(HugeHeaders(2, 70_000), read_bytes=140_000)).count(b"\r\nX-Huge-") == 2
    assert (await play(Garbage(), read_bytes=8)) == b"SSH-2.0-"
    assert (await play(InformationalFlood(), read_bytes=270_000)).count(b"HTTP/1.1 102 Processing\r\n\r\n") == 10_000


@pytest.mark.parametrize("step", [EndlessBody("chunked"), EndlessBody("length")])
async def test_an_endless_body_ends_with_the_client(step: EndlessBody) -> None:
    """The body goes on while the client reads, waits while it does not, and the bytes sent are known."""
    async with Receiver(default=step) as receiver:
        reader, writer = await connect(receiver)
        writer.write(REQUEST)
        await reader.readexactly(5_000_000)
        assert receiver.open_requests == 1
        writer.close()
        await eventually(lambda: receiver.open_requests == 0)

        # what the sockets between them may hold comes on top of what was read
        assert 5_000_000 <= receiver.sent_bytes("/x") < 50_000_000


async def test_a_gzip_bomb_is_small_on_the_wire() -> None:
    """A thousandth of what it unpacks to, and real gzip."""
    bomb = GzipBomb(members=20, member_bytes=1_000_000)
    async with (
        Receiver(default=bomb) as receiver,
        aiohttp.ClientSession(auto_decompress=False) as session,
        session.get(receiver.url("/")) as response,
    ):
        packed = await response.read()

    assert len(packed) < 25_000
    assert gzip.decompress(packed) == bytes(20_000_000)


async def test_https_with_good_and_bad_certificates(tmp_path: Path) -> None:
    """A client that checks accepts the good one, and refuses an expired one and one of another name."""
    authority = Authority(tmp_path)
    async with aiohttp.ClientSession() as session:

        async def post(tls: ssl.SSLContext) -> int:
            trusting = authority.client_context()
            async with (
                Receiver(name="localhost", tls=tls) as receiver,
                session.post(receiver.url("/"), ssl=trusting, data=b"x") as response,
            ):
                return response.status

        assert await post(authority.server_context()) == 200
        with pytest.raises(aiohttp.ClientConnectorCertificateError, match="expired"):
            await post(authority.server_context(is_expired=True))
        with pytest.raises(aiohttp.ClientConnectorCertificateError, match="mismatch"):
            await post(authority.server_context("elsewhere.example"))
        with pytest.raises(aiohttp.ClientError):
            await post(authority.server_context(asks_for_client_certificate=True))


async def test_leaving_ends_everything() -> None:
    """Hanging requests do not keep a test from ending, and its port is closed."""
    async with Receiver(default=Hang()) as receiver:
        reader, writer = await connect(receiver)
        writer.write(REQUEST)
        await eventually(lambda: receiver.open_requests == 1)
    assert await reader.read() == b""
    writer.close()
    with pytest.raises(ConnectionRefusedError):
        await connect(receiver)
    assert receiver.open_requests == 0
