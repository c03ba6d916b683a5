"""`GET /stats`: an application's attempts by minute, with the real processes."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.api import Reply, Space
from tests.support.eventually import eventually
from tests.support.receiver import Receiver, Status
from tests.support.stack import Stack

pytestmark = pytest.mark.asyncio(loop_scope="package")

TYPE = "billing.invoice.paid"


async def read(stack: Stack, space: Space, **query: str) -> Reply:
    members = {"application_id": space.application_id} | query
    return await stack.api.call("GET", "/stats", token=space.secret, query=members)


async def test_attempts_are_counted_by_what_they_came_to(stack: Stack) -> None:
    """Attempts of all subscriptions or of one are counted by minute and by day; the buckets hold every attempt."""
    space = await stack.api.make_space(TYPE)
    async with Receiver() as receiver:
        receiver.script("/bad", *[Status(503)] * 3)
        good = await stack.api.subscribe(space, receiver.url("/good"), TYPE)
        bad = await stack.api.subscribe(space, receiver.url("/bad"), TYPE, delivery={"retry_delays_s": []})
        for _ in range(3):
            await stack.api.send(space, TYPE)

        async def find() -> dict[str, Any]:
            found: dict[str, Any] = (await read(stack, space)).json
            assert 6 == found["total"]["attempts"]
            return found

        shown = await eventually(find)

    total = shown["total"]
    assert (3, 3, 0) == (total["succeeded"], total["failed"], total["cancelled"])
    assert {"E_HTTP": 3} == total["errors"]
    assert {"2xx": 3, "5xx": 3} == total["statuses"]
    assert 6 == sum(total["latency_counts"])
    assert len(shown["latency_bounds_ms"]) + 1 == len(total["latency_counts"])
    assert 0 <= total["latency_ms"]["p50"] <= total["latency_ms"]["p99"]
    assert 6 == sum(point["attempts"] for point in shown["points"])
    assert sorted(point["at"] for point in shown["points"]) == [point["at"] for point in shown["points"]]
    assert {"succeeded": 3, "failed": 3} == {
        name: (await read(stack, space, subscription_id=each["subscription_id"], step="day")).json["total"][name]
        for name, each in (("succeeded", good), ("failed", bad))
    }
    past = (datetime.now(UTC) - timedelta(days=1)).isoformat().replace("+00:00", "Z")
    assert [] == (await read(stack, space, to=past)).json["points"]


async def test_a_time_that_is_none_is_refused(stack: Stack) -> None:
    """A refusal of too long a time says what to do; the ends of the calendar are answered."""
    space = await stack.api.make_space(TYPE)
    begin, end = "0000-01-01T00:00:00Z", "9999-12-31T23:59:59Z"

    assert (400, "InvalidDateRange") == (await read(stack, space, **{"from": end, "to": begin})).problem
    refused = await read(stack, space, **{"from": begin, "to": end})
    assert (400, "InvalidQuery") == refused.problem
    assert "1,500 steps" in refused.json["detail"]
    assert (400, "InvalidQuery") == (await read(stack, space, step="second")).problem
    for moment in (begin, end):
        assert 0 == (await read(stack, space, to=moment, step="day")).json["total"]["attempts"]
