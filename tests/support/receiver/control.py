"""Scripts and counts over HTTP, for a receiver that is a process of its own. On a port apart: none of it is recorded.

`PUT /script` with `{"path": ..., "steps": ["FailTimes(2)", ...]}`; `GET /state` answers `ReceiverState`.
"""

from dataclasses import dataclass

import msgspec
from aiohttp import web

from tests.support.receiver.script import parse_step
from tests.support.receiver.server import HOST, Receiver


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiverState:
    """How a receiver is doing: over all paths."""

    received: int
    open_requests: int
    open_connections: int
    max_open: int
    malformed: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptOrder:
    path: str
    steps: list[str]


async def serve_control(receiver: Receiver) -> tuple[web.AppRunner, int]:
    """Start listening; what to clean up in the end, and the port."""

    async def set_script(request: web.Request) -> web.Response:
        try:
            order = msgspec.json.decode(await request.read(), type=ScriptOrder)
            steps = [parse_step(text) for text in order.steps]
        except ValueError as error:  # of either decoder
            return web.Response(status=400, text=str(error))
        receiver.script(order.path, *steps)
        return web.Response(status=204)

    async def show_state(_: web.Request) -> web.Response:
        state = ReceiverState(
            received=receiver.received,
            open_requests=receiver.open_requests,
            open_connections=receiver.open_connections,
            max_open=receiver.max_open(),
            malformed=receiver.malformed,
        )
        return web.Response(body=msgspec.json.encode(state), content_type="application/json")

    app = web.Application()
    app.router.add_put("/script", set_script)
    app.router.add_get("/state", show_state)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, HOST, 0).start()
    return runner, runner.addresses[0][1]
