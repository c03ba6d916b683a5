"""Long bodies of a tenant are in memory within its share; others' are read meanwhile."""

import asyncio
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from aiohttp import StreamReader, web
from aiohttp.test_utils import make_mocked_request

from pipeline.gateway.bodies import LONG_BYTES, give_back_room, read_body
from pipeline.gateway.context import GATEWAY
from pipeline.gateway.problems import Problem
from pipeline.gateway.shared_room import SharedRoom
from pipeline.tenant import work_for

LONG = b"x" * (LONG_BYTES + 1)


def make_app() -> web.Application:
    """A gateway that has room for less than two long bodies of one tenant."""
    gateway: Any = SimpleNamespace(
        bodies=SharedRoom(2 * len(LONG)),
        settings=SimpleNamespace(gateway=SimpleNamespace(request_timeout_s=0.01)),
    )
    app = web.Application()
    app[GATEWAY] = gateway
    return app


def make_request(app: web.Application, body: bytes, **headers: str) -> web.Request:
    payload = StreamReader(Mock(_reading_paused=False), 2**16, loop=asyncio.get_running_loop())
    payload.feed_data(body)
    payload.feed_eof()
    sized = {"Content-Length": str(len(body))} | headers
    return make_mocked_request("POST", "/", headers=sized, payload=payload, app=app, client_max_size=2**20)


async def test_a_tenant_waits_for_its_own_bodies() -> None:
    """One more long body is read when one before is done with; a short one, and another tenant's, at once."""
    app = make_app()
    first, second = make_request(app, LONG), make_request(app, LONG)
    work_for("a")
    await read_body(first)
    with pytest.raises(Problem) as refused:
        await read_body(second)
    short = await read_body(make_request(app, b"{}"))
    work_for("b")
    others = make_request(app, LONG)
    await read_body(others)
    give_back_room(others)
    work_for("a")
    give_back_room(first)

    assert "ServiceUnavailable" == refused.value.kind.id
    assert b"{}" == short
    assert LONG == await read_body(second)


async def test_a_packed_body_counts_as_what_it_may_come_to() -> None:
    """A few bytes may unpack to as much as a body may have."""
    app = make_app()
    packed = make_request(app, b"x", **{"Content-Encoding": "gzip"})
    with pytest.raises(Problem):
        await read_body(packed)

    assert not app[GATEWAY].bodies.has_room("")
    give_back_room(packed)
    assert app[GATEWAY].bodies.has_room("")
