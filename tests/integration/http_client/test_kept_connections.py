import asyncio
import socket

from connectors.http.client.connection import Connection
from connectors.http.client.exchange import Answer, ErrorClass, Failure
from tests.integration.http_client.clients import open_client
from tests.integration.http_client.servers import listen
from tests.support.eventually import eventually
from tests.support.outbound import make_request

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def read_request(reader: asyncio.StreamReader) -> bytes:
    """One request of `make_request`. Raises IncompleteReadError when the client has gone."""
    head = await reader.readuntil(b"\r\n\r\n")
    return head + await reader.readexactly(7)


async def test_what_has_come_in_is_noticed_before_the_loop_does() -> None:
    """An end, or bytes, that the kernel has and the event loop has not looked at yet: the connection is not quiet."""
    loop = asyncio.get_running_loop()
    for sent in (None, b"x"):
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        _, connection = await loop.create_connection(
            lambda: Connection(head_max_bytes=1024, body_max_bytes=1024), sock=ours
        )
        assert connection.is_quiet()
        if sent is None:
            theirs.close()
        else:
            theirs.send(sent)

        # nothing has been awaited since: to the loop all is as before
        assert connection.is_reusable
        assert not connection.is_quiet()
        connection.close()
        theirs.close()


async def test_an_endpoint_that_closes_after_each_answer() -> None:
    """The endpoint closes without saying so in a header. Every request has a new connection, and none is lost."""
    connections = closed = 0

    async def answer_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections, closed
        connections += 1
        await read_request(reader)
        writer.write(OK)
        writer.close()
        await writer.wait_closed()
        closed += 1

    async with listen(answer_once) as port, open_client() as client:
        for count in range(1, 6):
            result = await client.send(make_request(f"http://127.0.0.1:{port}/"))
            assert isinstance(result, Answer)
            assert count == connections
            await eventually(lambda: closed == connections)


async def test_an_answer_that_nobody_asked_for() -> None:
    """An answer comes while the connection is idle; the next request gets its own answer, on another connection."""
    connections = unasked = 0

    async def answer_twice(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections, unasked
        connections += 1
        await read_request(reader)
        writer.write(OK)
        await eventually(lambda: client.idle_connections == 1)
        writer.write(b"HTTP/1.1 500 Unasked\r\nContent-Length: 0\r\n\r\n")
        unasked += 1
        await reader.read()

    async with listen(answer_twice) as port, open_client() as client:
        for count in range(1, 6):
            result = await client.send(make_request(f"http://127.0.0.1:{port}/"))
            assert isinstance(result, Answer)
            assert 200 == result.status
            assert count == connections
            await eventually(lambda: unasked == connections)


async def test_a_request_is_never_sent_twice() -> None:
    """The endpoint closes a kept connection instead of answering: it may or may not have read the request.

    That is a failed attempt, and says that the connection was a kept one; the retry is for the schedule to decide.
    """
    requests: list[bytes] = []

    async def answer_the_first(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(await read_request(reader))
        writer.write(OK)
        requests.append(await read_request(reader))

    async with listen(answer_the_first) as port, open_client() as client:
        request = make_request(f"http://127.0.0.1:{port}/")
        assert isinstance(await client.send(request), Answer)
        result = await client.send(request)

        assert isinstance(result, Failure)
        expected = "the endpoint closed the kept connection before its answer was complete"
        assert (ErrorClass.CONNECTION, expected) == (result.error_class, result.detail)
        assert 2 == len(requests)


async def test_a_large_answer_in_small_pieces_keeps_the_connection() -> None:
    """Packets of one byte make no difference."""

    async def answer_slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            await read_request(reader)
            for position in range(len(OK)):
                writer.write(OK[position : position + 1])
                await writer.drain()
                await asyncio.sleep(0)

    async with listen(answer_slowly) as port, open_client() as client:
        for _ in range(2):
            result = await client.send(make_request(f"http://127.0.0.1:{port}/"))
            assert isinstance(result, Answer)
            assert b"ok" == result.body
        assert "connect" not in result.timings_us
