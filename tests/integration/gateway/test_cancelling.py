"""Disabling cancels what was accepted before it, and nothing else: by the log's order, not by two machines' clocks."""

import psycopg
import pytest

from tests.support.api import describe_subscription
from tests.support.eventually import eventually
from tests.support.receiver import Receiver, Status
from tests.support.stack import Stack

pytestmark = pytest.mark.asyncio(loop_scope="package")

TYPE = "billing.invoice.paid"


@pytest.mark.parametrize("shift_s", [30, -3600])
async def test_clocks_that_differ(stack: Stack, shift_s: int) -> None:
    """PostgreSQL's clock ahead of the broker's, or behind it, while a subscription is disabled and enabled again."""
    space = await stack.api.make_space(TYPE)
    async with Receiver() as receiver:
        receiver.script("/a", Status(500), Status(200))
        created = await stack.api.subscribe(space, receiver.url("/a"), TYPE, delivery={"retry_delays_s": [3, 3, 3, 3]})
        path = f"/subscriptions/{created['subscription_id']}"
        waiting = await stack.api.send(space, TYPE)
        await eventually(lambda: receiver.requests("/a"))
        body = describe_subscription(space.application_id, receiver.url("/a"), TYPE)
        disabled = await stack.api.call("PUT", path, body | {"is_enabled": False})
        with psycopg.connect(stack.database_url, autocommit=True) as database:
            # what a clock that is off would have noted
            database.execute(
                "update subscriptions set cancelled_before = cancelled_before + %s * interval '1 s' "
                "where subscription_id = %s",
                (shift_s, created["subscription_id"]),
            )
        enabled = await stack.api.call("PUT", path, body)
        sent = {await stack.api.send(space, TYPE) for _ in range(20)}
        await eventually(lambda: sent <= {each.header("X-Event-Id") for each in receiver.requests("/a")})

        async def is_cancelled() -> bool:
            attempts = await stack.api.list_attempts(space, waiting)
            return any(attempt["failed_at"] and attempt["response_id"] is None for attempt in attempts)

        await eventually(is_cancelled, timeout_s=60)

        assert [200, 200] == [disabled.status, enabled.status]
        assert 1 == len([each for each in receiver.requests("/a") if each.header("X-Event-Id") == waiting])
