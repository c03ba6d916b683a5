"""The generator's streams against a server that closes connections."""

import asyncio
import time

from bench.instruments.fine_timer import FineTimer
from bench.instruments.plan import Audience, Pace, StreamPlan
from bench.instruments.request import RequestWriter
from bench.instruments.stream import Stream
from tests.support.eventually import eventually

AUDIENCE = Audience(application_id="a", secret="s", event_type="bench.event.sent", labels={"bench": "all-0"})
ANSWER = b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"
CONNECTIONS = 3


async def test_connections_that_were_closed_while_idle_are_replaced() -> None:
    """Requests to be sent afterwards are sent, on new connections, and all of them are answered."""
    connected: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.append(writer)
        while True:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, asyncio.CancelledError):
                return
            length = next(line for line in head.split(b"\r\n") if line.startswith(b"Content-Length: "))
            await reader.readexactly(int(length.split(b" ")[1]))
            writer.write(ANSWER)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    api = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/api/v1"
    pace = Pace(is_limited=True)
    plan = StreamPlan(number=0, pace=pace, audiences=[AUDIENCE], connections=CONNECTIONS)
    alarm = FineTimer()
    writer = RequestWriter(plan, api=api, payloads=["{}"], has_event_ids=False, run_id=1)
    stream = Stream(plan, writer, apis=[api], timer=alarm)
    await stream.connect()
    stream.start(time.time_ns() // 1000)
    stream.allow(10)
    await eventually(lambda: (10, CONNECTIONS) == (stream.answered, len(connected)))

    for each in connected:
        each.close()
    for each in connected:
        await each.wait_closed()
    await eventually(lambda: not any(each.is_open for each in stream._idle))  # noqa: SLF001 - nothing else shows it
    stream.allow(20)
    await eventually(lambda: (20, 2 * CONNECTIONS) == (stream.answered, len(connected)))

    assert 20 == stream.accepted
    await stream.close()
    alarm.close()
    for each in connected:
        each.close()
        await each.wait_closed()
    server.close()
    await server.wait_closed()


async def test_a_connection_that_cannot_be_replaced_is_reported_to_the_loop() -> None:
    """The generator ends then: with a connection less, the load would be another one."""
    connected: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: connected.append(writer), "127.0.0.1", 0)
    api = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    reported: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context["exception"]))
    plan = StreamPlan(number=0, pace=Pace(is_limited=True), audiences=[AUDIENCE], connections=1)
    alarm = FineTimer()
    writer = RequestWriter(plan, api=api, payloads=["{}"], has_event_ids=False, run_id=1)
    stream = Stream(plan, writer, apis=[api, "http://127.0.0.1:99999/"], timer=alarm)
    await stream.connect()
    await eventually(lambda: connected)
    connected[0].close()
    await eventually(lambda: not any(each.is_open for each in stream._idle))  # noqa: SLF001 - only the stream knows
    stream.start(time.time_ns() // 1000)
    stream.allow(1)
    (error,) = await eventually(lambda: reported)

    assert "Port out of range" in str(error)
    await stream.close()
    alarm.close()
    server.close()
    await server.wait_closed()
