import asyncio
import resource
import time

import pytest

from connectors.http.client.exchange import Answer, ErrorClass, Failure
from tests.integration.http_client.clients import TOTAL_TIMEOUT_S, open_client
from tests.support.eventually import eventually
from tests.support.outbound import make_request
from tests.support.receiver import (
    BadChunking,
    Behaviour,
    CloseUnanswered,
    Drip,
    EndlessBody,
    Garbage,
    GzipBomb,
    HalfClose,
    Hang,
    HugeHeaders,
    InformationalFlood,
    LieAboutLength,
    Receiver,
    Reset,
)

BODY_MAX_BYTES = 16 * 1024
# Generous: the machine may be busy. What must not happen is that it takes as long as the endpoint likes.
ENDS_WITHIN_S = 10.0
# What may have left the receiver before it noticed: the buffers of both sides.
SENT_MAX_BYTES = 8 * 1024 * 1024

GARBAGE = [
    *(b"SSH-2.0-OpenSSH_9.2\r\n", b"\x16\x03\x01\x02\x00\x01\x00", b"\x00" * 100_000, b"220 mail ESMTP\r\n"),
    *(b"HTTP/1.1\r\n\r\n", b"HTTP/1.1 abc OK\r\n\r\n", b"HTTP/9.9 200 OK\r\n\r\n", b"<html>hello</html>\r\n\r\n"),
    *(
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    ),
    b"HTTP/1.1 200 OK\r\n bad: folding\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
]


async def send(behaviour: Behaviour, **settings: float) -> tuple[Answer | Failure, int]:
    """(what came of a request, bytes that the receiver had written by then). The connection is gone afterwards."""
    async with Receiver(default=behaviour) as receiver, open_client(**{"total_timeout_s": 15} | settings) as client:
        started_at_s = time.monotonic()
        result = await client.send(make_request(receiver.url("/a")))
        assert time.monotonic() - started_at_s < ENDS_WITHIN_S
        assert 0 == client.idle_connections
        assert 1 == receiver.received
        # dropped at once, not left to the endpoint
        await eventually(lambda: receiver.open_connections == 0)
        return result, receiver.sent_bytes("/a")


@pytest.mark.parametrize(
    "behaviour", [Hang(), Drip("head", 0.3), Drip("head", 0.05)], ids=["silent", "drips", "drips quickly"]
)
async def test_no_head_in_time(behaviour: Behaviour) -> None:
    """The deadline is for the whole: a byte now and then does not move it."""
    result, _ = await send(behaviour, total_timeout_s=TOTAL_TIMEOUT_S)

    assert isinstance(result, Failure)
    assert (ErrorClass.TIMEOUT, "no whole answer within 0.7 s") == (result.error_class, result.detail)
    assert result.timings_us["total"] > 0.9 * TOTAL_TIMEOUT_S * 1_000_000
    assert (behaviour == Hang()) == ("first_byte" not in result.timings_us)


async def test_no_body_in_time() -> None:
    """The endpoint has answered; what came of its body until the deadline is kept, and that it was not all is said."""
    result, _ = await send(Drip("body", 0.1), total_timeout_s=TOTAL_TIMEOUT_S)

    assert isinstance(result, Answer)
    assert (200, "no whole answer within 0.7 s") == (result.status, result.body_problem)
    assert 1 <= len(result.body) <= 10
    assert set(result.body) == set(b"x")


@pytest.mark.parametrize("behaviour", [EndlessBody("chunked"), EndlessBody("length")], ids=["chunked", "length"])
async def test_endless_body(behaviour: Behaviour) -> None:
    """The client reads so much, and no more; the answer is a success, and the deadline is not waited for."""
    result, sent_bytes = await send(behaviour)

    assert isinstance(result, Answer)
    assert (200, b"x" * BODY_MAX_BYTES, None) == (result.status, result.body, result.body_problem)
    assert sent_bytes < SENT_MAX_BYTES


@pytest.mark.parametrize(
    "behaviour", [GzipBomb(1000, 10_000_000), GzipBomb(1_000_000, 1)], ids=["ten gigabytes", "a million members"]
)
async def test_gzip_bomb(behaviour: GzipBomb) -> None:
    """Nothing is unpacked: the bytes are kept as they are, up to the limit, and cost next to nothing."""
    cpu_s = time.process_time()
    result, sent_bytes = await send(behaviour)

    assert isinstance(result, Answer)
    assert BODY_MAX_BYTES == len(result.body)
    assert b"\x1f\x8b" == result.body[:2]
    assert sent_bytes < SENT_MAX_BYTES
    # the receiver, which packs it, runs in this process too
    assert time.process_time() - cpu_s < 5


@pytest.mark.parametrize(
    "behaviour", [HugeHeaders(), HugeHeaders(1000, 100), HugeHeaders(300, 1), HugeHeaders(20_000, 1000)]
)
async def test_huge_headers(behaviour: HugeHeaders) -> None:
    """One of 64 KB, or thousands of small ones."""
    result, sent_bytes = await send(behaviour)

    assert isinstance(result, Failure)
    assert ErrorClass.CONNECTION == result.error_class
    assert result.detail in ("the answer's head has more than 16384 bytes", "the answer has more than 256 headers")
    assert sent_bytes < 32 * 1024 * 1024


async def test_flood_of_interim_answers() -> None:
    """A few may come before the real one."""
    result, sent_bytes = await send(InformationalFlood())

    assert isinstance(result, Failure)
    assert (ErrorClass.CONNECTION, "the endpoint sent more than 16 interim answers") == (
        result.error_class,
        result.detail,
    )
    assert sent_bytes < SENT_MAX_BYTES


@pytest.mark.parametrize("within", ["request", "head"])
async def test_reset_before_the_answer(within: str) -> None:
    """Whether the request was read is not known: it failed, and may be tried again later."""
    result, _ = await send(Reset("request" if within == "request" else "head"))

    assert isinstance(result, Failure)
    assert ErrorClass.CONNECTION == result.error_class
    assert "before" in result.detail


async def test_closed_without_an_answer() -> None:
    """The connection is closed in order, but there is no answer."""
    result, _ = await send(CloseUnanswered())

    assert isinstance(result, Failure)
    expected = "the endpoint closed the connection before its answer was complete"
    assert (ErrorClass.CONNECTION, expected) == (result.error_class, result.detail)


@pytest.mark.parametrize(
    "behaviour", [Reset("body"), HalfClose(), LieAboutLength(), BadChunking()], ids=lambda each: type(each).__name__
)
async def test_a_body_that_breaks(behaviour: Behaviour) -> None:
    """The status was said, so it counts; the body is kept as far as it came, with the reason why that is not all."""
    result, _ = await send(behaviour)

    assert isinstance(result, Answer)
    assert 200 == result.status
    assert len(result.body) < 1000
    assert result.body_problem is not None


async def test_more_than_was_announced() -> None:
    """Bytes behind the announced end are no part of the answer, nor of the next one."""
    result, _ = await send(LieAboutLength(claimed_bytes=5, sent_bytes=100_000))

    assert isinstance(result, Answer)
    assert (b"xxxxx", None) == (result.body, result.body_problem)


@pytest.mark.parametrize("sent", GARBAGE, ids=lambda sent: repr(sent[:40]))
async def test_garbage(sent: bytes) -> None:
    """Garbage is no answer, and does not wait for the deadline."""
    result, _ = await send(Garbage(sent))

    assert isinstance(result, Failure)
    assert ErrorClass.CONNECTION == result.error_class
    assert "not HTTP" in result.detail


@pytest.mark.parametrize(
    "sent",
    [
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n\x81\x05hello",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    ],
)
async def test_switching_protocols(sent: bytes) -> None:
    """The client did not ask for an upgrade."""
    result, _ = await send(Garbage(sent))

    assert isinstance(result, Failure)
    assert (ErrorClass.CONNECTION, "the endpoint switched protocols") == (result.error_class, result.detail)


async def test_a_hundred_of_each_cost_little() -> None:
    """Two hundred hostile endpoints at once: all end in time, and what they hold stays small."""
    behaviours: list[Behaviour] = [
        Hang(),
        Drip("head", 0.05),
        Drip("body", 0.05),
        EndlessBody(),
        InformationalFlood(),
        HugeHeaders(),
    ]
    async with Receiver() as receiver, open_client(total_timeout_s=2.0) as client:
        for number, behaviour in enumerate(behaviours):
            receiver.script(f"/{number}/*", behaviour)
        before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        started_at_s = time.monotonic()
        results = await asyncio.gather(
            *(client.send(make_request(receiver.url(f"/{number % len(behaviours)}/{number}"))) for number in range(200))
        )
        took_s = time.monotonic() - started_at_s
        await eventually(lambda: receiver.open_connections == 0)

        assert took_s < 2 * ENDS_WITHIN_S
        assert 200 == len(results)
        assert 0 == client.idle_connections
        # the receiver's buffers included, which are in this process: 256 KB and more for each that floods
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 300 * 1024
