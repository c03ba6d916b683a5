"""The receiver, a process: `python -m bench.instruments.receiver PLAN`. Answers at once, and writes down when.

The path `/e/17` is endpoint 17. An endpoint may also be slow or sick, and change while it runs.
"""

import asyncio
import gc
import sys
from pathlib import Path
from typing import cast

import httptools

from bench.instruments.child_side import read_commands, say
from bench.instruments.journal import RECEIVED, open_columns, write_columns
from bench.instruments.plan import DRIP, HANG, RESET, Answer, Command, ReceiverPlan, ReceiverProgress, read_plan
from bench.instruments.stamp import END, NUMBER, STREAM, TIME
from pipeline.clock import wall_us
from pipeline.supervisor import run_together

REPORT_INTERVAL_S = 0.1
DRIP_INTERVAL_S = 1.0
SUCCESS = range(200, 300)
DRIPPING = b"HTTP/1.1 200 OK\r\nX-Drops: "  # the head never ends


class Endpoint:
    """One endpoint: what it answers, and how often it answered with success. `is_quick`: at once, with success."""

    __slots__ = ("answer", "data", "index", "is_quick", "received")

    def __init__(self, index: int, answer: Answer) -> None:
        self.index = index
        self.received = 0
        self.adopt(answer)

    def adopt(self, answer: Answer) -> None:
        """Do so from now on."""
        self.answer = answer
        self.data = b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % answer.status
        self.is_quick = answer == Answer()


class Reception:
    """All endpoints, and what arrived at them."""

    def __init__(self, plan: ReceiverPlan) -> None:
        self._plan = plan
        self._endpoints = [Endpoint(index, answer) for index, answer in enumerate(plan.answers)]
        self._by_url = {b"/e/%d" % endpoint.index: endpoint for endpoint in self._endpoints}
        self._columns = open_columns(RECEIVED)
        self._saved = 0
        self.port = 0
        self.requests = 0
        self.misunderstood = 0  # requests that are no delivery of a benchmark

    def find(self, url: bytes) -> Endpoint:
        """Raises KeyError."""
        return self._by_url[url]

    def record(self, endpoint: Endpoint, body: bytes) -> None:
        """A delivery has arrived that is answered with success. Raises ValueError when it bears no mark."""
        columns = self._columns
        columns["intended_us"].append(int(body[TIME]))
        columns["arrived_us"].append(wall_us())
        columns["endpoint"].append(endpoint.index)
        columns["stream"].append(int(body[STREAM]))
        columns["number"].append(int(body[NUMBER]))
        endpoint.received += 1

    def do(self, command: Command) -> None:
        """Follow a command."""
        match command.do:
            case "answer":
                for endpoint in self._endpoints[command.first : command.end]:
                    endpoint.adopt(command.answer)
            case "save":
                write_columns(Path(self._plan.journal_dir), "received", self._columns)
                self._saved += 1
                self.report()
            case _:
                raise ValueError(f"{command.do} is no command")

    def report(self) -> None:
        """Say how far it is."""
        received, first = [], 0
        for size in self._plan.groups:
            received.append(sum(endpoint.received for endpoint in self._endpoints[first : first + size]))
            first += size
        say(
            ReceiverProgress(
                port=self.port,
                received=received,
                requests=self.requests,
                misunderstood=self.misunderstood,
                saved=self._saved,
            )
        )


class Inlet(asyncio.Protocol):
    """A connection on which deliveries come in."""

    __slots__ = ("_body", "_dripping", "_parser", "_reception", "_transport", "_url")

    def __init__(self, reception: Reception) -> None:
        self._reception = reception
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._url = self._body = b""
        self._dripping: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._dripping is not None:
            self._dripping.cancel()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:  # also when it is HTTP, and `reception` cannot make sense of it
            self._reception.misunderstood += 1
            self._abort()

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_body(self, body: bytes) -> None:
        # of a long body that comes in pieces only the start is wanted
        if len(self._body) < END:
            self._body += body

    def on_message_complete(self) -> None:
        reception = self._reception
        endpoint = reception.find(self._url)
        reception.requests += 1
        body, self._url, self._body = self._body, b"", b""
        if endpoint.is_quick:
            reception.record(endpoint, body)
            self._write(endpoint.data)
        else:
            self._answer(endpoint, body)

    def _answer(self, endpoint: Endpoint, body: bytes) -> None:
        answer = endpoint.answer
        if answer.kind == HANG:
            return
        if answer.kind == RESET:
            self._abort()
        elif answer.kind == DRIP:
            self._write(DRIPPING)
            self._drip()
        else:
            if answer.status in SUCCESS:
                self._reception.record(endpoint, body)
            asyncio.get_running_loop().call_later(answer.delay_ms / 1000, self._write, endpoint.data)

    def _drip(self) -> None:
        self._write(b"x")
        self._dripping = asyncio.get_running_loop().call_later(DRIP_INTERVAL_S, self._drip)

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def _abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


async def main(path: Path) -> None:
    """Receive until the parent process is gone."""
    plan = read_plan(path, ReceiverPlan)
    reception = Reception(plan)
    server = await asyncio.get_running_loop().create_server(lambda: Inlet(reception), plan.host, 0, backlog=4096)
    reception.port = server.sockets[0].getsockname()[1]
    # as in the generator
    gc.disable()

    async def report_regularly() -> None:
        while True:
            reception.report()
            await asyncio.sleep(REPORT_INTERVAL_S)

    async def follow() -> None:
        async for command in read_commands():
            reception.do(command)

    # the commands end with the parent, nothing else ends in order
    await run_together(asyncio.Event(), reports=report_regularly(), commands=follow())


if __name__ == "__main__":
    import uvloop

    uvloop.run(main(Path(sys.argv[1])))
