"""A half-updated installation: values that a newer release wrote are kept, and disturb no process."""

import json

import psycopg
import pytest

from tests.support.api import describe_subscription
from tests.support.eventually import eventually
from tests.support.receiver import Receiver
from tests.support.stack import Stack

pytestmark = pytest.mark.asyncio(loop_scope="package")

TYPE = "billing.invoice.paid"
NEWER = {"colour": "blue", "shape": {"sides": 3}}


async def test_unknown_delivery_settings_stay_and_are_ignored(stack: Stack) -> None:
    """A subscription with settings of a newer release is read, replaced and delivered to; they are kept."""
    space = await stack.api.make_space(TYPE)
    async with Receiver() as receiver:
        made = await stack.api.subscribe(space, receiver.url("/a"), TYPE, delivery={"rate_per_s": 50})
        subscription_id = made["subscription_id"]
        with psycopg.connect(stack.database_url, autocommit=True) as connection:
            connection.execute(
                "update subscriptions set delivery = (delivery::jsonb || %s::jsonb)::text where subscription_id = %s",
                (json.dumps(NEWER), subscription_id),
            )
            shown = await stack.api.call("GET", f"/subscriptions/{subscription_id}", token=space.secret)
            body = describe_subscription(
                space.application_id, receiver.url("/b"), TYPE, delivery={"concurrency_max": 2}
            )
            replaced = await stack.api.call("PUT", f"/subscriptions/{subscription_id}", body, token=space.secret)
            listed = await stack.api.call(
                "GET", f"/subscriptions?application_id={space.application_id}", token=space.secret
            )
            row = connection.execute(
                "select delivery from subscriptions where subscription_id = %s", (subscription_id,)
            ).fetchone()
        await stack.api.send(space, TYPE)
        await eventually(lambda: len(receiver.requests("/b")) == 1)
    assert row is not None
    stored = json.loads(row[0])

    assert (200, 50) == (shown.status, shown.json["delivery"]["rate_per_s"])
    assert (200, None, 2) == (
        replaced.status,
        replaced.json["delivery"]["rate_per_s"],
        replaced.json["delivery"]["concurrency_max"],
    )
    assert [subscription_id] == [each["subscription_id"] for each in listed.json]
    assert NEWER == {name: stored[name] for name in NEWER}
    assert (None, 2) == (stored["rate_per_s"], stored["concurrency_max"])


async def test_a_filter_of_a_newer_release_selects_nothing(stack: Stack) -> None:
    """One that this release cannot read holds up no other subscription, and lets no event through by mistake."""
    space = await stack.api.make_space(TYPE)
    newer = json.dumps({"path": "/n", "op": "resembles", "value": 1})
    async with Receiver() as receiver:
        unreadable = await stack.api.subscribe(space, receiver.url("/a"), TYPE)
        with psycopg.connect(stack.database_url, autocommit=True) as connection:
            connection.execute(
                "update subscriptions set payload_filter = %s where subscription_id = %s",
                (newer, unreadable["subscription_id"]),
            )
        await stack.api.call(
            "POST",
            f"/subscriptions/{unreadable['subscription_id']}/rotate_secret",
            {"application_id": space.application_id},
            token=space.secret,
        )
        await stack.api.subscribe(space, receiver.url("/b"), TYPE)
        await stack.api.send(space, TYPE)
        await eventually(lambda: len(receiver.requests("/b")) == 1)

        assert [] == receiver.requests("/a")
