"""A delivery is sent again because a person asked for it, by one of its attempts."""

from typing import Any
from uuid import uuid4

import pytest

from tests.support.api import Space, describe_subscription
from tests.support.receiver import Receiver, Status
from tests.support.stack import Stack
from tests.support.verification import verify_delivery

pytestmark = pytest.mark.asyncio(loop_scope="package")

TYPE = "billing.invoice.paid"


async def retry(stack: Stack, space: Space, attempt: dict[str, Any]) -> dict[str, Any]:
    """Ask for it; the answer."""
    path = f"/request_attempts/{attempt['request_attempt_id']}/retry"
    reply = await stack.api.call("POST", path, {"application_id": space.application_id}, token=space.secret)
    assert 201 == reply.status, reply.text
    shown: dict[str, Any] = reply.json
    return shown


async def enable(stack: Stack, space: Space, made: dict[str, Any], is_enabled: bool, **delivery: Any) -> None:
    """Enable or disable the subscription."""
    body = describe_subscription(
        space.application_id, made["target"]["url"], TYPE, is_enabled=is_enabled, delivery=delivery
    )
    reply = await stack.api.call("PUT", f"/subscriptions/{made['subscription_id']}", body)
    assert 200 == reply.status, reply.text


async def test_a_retry_is_one_more_attempt_also_while_disabled(stack: Stack) -> None:
    """The retry has the same `webhook-id` and today's secret, and a mark; others of the subscription stay cancelled."""
    space = await stack.api.make_space(TYPE)
    async with Receiver() as receiver:
        receiver.script("/a", Status(500), Status(200))
        made = await stack.api.subscribe(space, receiver.url("/a"), TYPE, delivery={"retry_delays_s": [600]})
        event_id = await stack.api.send(space, TYPE)
        await stack.api.wait_for_outcomes(space, event_id, "failed", "waiting")
        await enable(stack, space, made, False, retry_delays_s=[600])
        path = f"/subscriptions/{made['subscription_id']}/rotate_secret"
        rotated = await stack.api.call("POST", path, {"application_id": space.application_id, "overlap_s": 0})
        (first, cancelled) = await stack.api.wait_for_outcomes(space, event_id, "failed", "failed")
        shown = await retry(stack, space, first)
        attempts = await stack.api.wait_for_outcomes(space, event_id, "failed", "failed", "successful")
        requests = receiver.requests("/a")

        assert (event_id, made["subscription_id"]) == (shown["event_id"], shown["subscription_id"])
        assert shown["request_attempt_id"] == attempts[-1]["request_attempt_id"]
        assert [None, None] == [first["asked_at"], cancelled["asked_at"]]
        assert attempts[-1]["asked_at"] is not None
        assert {shown["delivery_id"]} == {attempt["delivery_id"] for attempt in attempts}
        assert 2 == len(requests)
        assert {shown["delivery_id"]} == {request.header("webhook-id") for request in requests}
        assert ("hook0", "standardwebhooks", "svix") == verify_delivery(requests[-1], rotated.json["secret"])


async def test_what_follows_a_failed_retry(stack: Stack) -> None:
    """Enabled: a retry that is waiting, though the subscription was disabled once. Disabled: it is cancelled."""
    space = await stack.api.make_space(TYPE)
    async with Receiver() as receiver:
        receiver.script("/a", *[Status(500)] * 9)
        made = await stack.api.subscribe(space, receiver.url("/a"), TYPE, delivery={"retry_delays_s": [600]})
        event_id = await stack.api.send(space, TYPE)
        await stack.api.wait_for_outcomes(space, event_id, "failed", "waiting")
        await enable(stack, space, made, False)
        await enable(stack, space, made, True, retry_delays_s=[600])
        (first, _) = await stack.api.wait_for_outcomes(space, event_id, "failed", "failed")
        await retry(stack, space, first)
        await stack.api.wait_for_outcomes(space, event_id, "failed", "failed", "failed", "waiting")
        await enable(stack, space, made, False, retry_delays_s=[600])
        await stack.api.wait_for_outcomes(space, event_id, "failed", "failed", "failed", "failed")

        assert 2 == len(receiver.requests("/a"))


async def test_what_cannot_be_retried(stack: Stack) -> None:
    """An unknown attempt, one of another application, and one whose subscription was deleted do not exist."""
    space, other = await stack.api.make_space(TYPE), await stack.api.make_space(TYPE)
    async with Receiver() as receiver:
        made = await stack.api.subscribe(space, receiver.url("/a"), TYPE)
        event_id = await stack.api.send(space, TYPE)
        (attempt,) = await stack.api.wait_for_outcomes(space, event_id, "successful")
        path = f"/request_attempts/{attempt['request_attempt_id']}/retry"
        unknown = f"/request_attempts/{uuid4()}/retry"
        mine, theirs = {"application_id": space.application_id}, {"application_id": other.application_id}
        replies = [
            await stack.api.call("POST", unknown, mine, token=space.secret),
            await stack.api.call("POST", path, theirs, token=other.secret),
        ]
        query = f"?application_id={space.application_id}"
        await stack.api.call("DELETE", f"/subscriptions/{made['subscription_id']}{query}", token=space.secret)
        replies.append(await stack.api.call("POST", path, mine, token=space.secret))

        assert [(404, "NotFound")] * 3 == [reply.problem for reply in replies]
        assert 1 == len(receiver.requests("/a"))
