"""The generator's streams against a server that closes connections."""

import asyncio
import time

from bench.fine_timer import FineTimer
from bench.plan import Audience, Pace, StreamPlan
from bench.request import RequestWriter
from bench.stream import Stream
from tests.support.eventually import eventually

AUDIENCE = Audience(application_id="a", secret="s", event_type="bench.event.sent", labels={"bench": "all-0"})
ANSWER = b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"
CONNECTIONS = 3


async def test_connections_that_were_closed_while_idle_are_replaced() -> None:
    """What is to be sent afterwards is sent, on new connections, and all of it is answered."""
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
    await eventually(lambda: stream.answered == 10)

    for each in connected:
        each.close()
    for each in connected:
        await each.wait_closed()
    await eventually(lambda: not any(each.is_open for each in stream._idle))  # noqa: SLF001 - nobody else knows
    stream.allow(20)
    await eventually(lambda: stream.answered == 20)

    assert 20 == stream.accepted
    assert 2 * CONNECTIONS == len(connected)
    await stream.close()
    alarm.close()
    for each in connected:
        each.close()
        await each.wait_closed()
    server.close()
    await server.wait_closed()
