"""An event is sent again because a person asked for it."""

import json
from typing import Any
from uuid import uuid4

import pytest

from tests.support.api import Space, describe_subscription
from tests.support.eventually import eventually
from tests.support.receiver import Receiver, Status
from tests.support.stack import Stack, run_stack
from tests.support.verification import verify_delivery

pytestmark = pytest.mark.asyncio(loop_scope="package")

TYPE = "billing.invoice.paid"


async def ask(stack: Stack, space: Space, event_id: str, **members: Any) -> tuple[int, str]:
    """Ask for a replay; status and the problem's id."""
    body = {"application_id": space.application_id} | members
    reply = await stack.api.call("POST", f"/events/{event_id}/replay", body, token=space.secret)
    return reply.problem if reply.status >= 400 else (reply.status, "")


async def test_a_replay_is_one_more_attempt_of_the_same_delivery(stack: Stack) -> None:
    """The receiver gets the same bytes under the same `webhook-id`, signed; each replay is an attempt of its own."""
    space = await stack.api.make_space(TYPE)
    async with Receiver() as receiver:
        made = await stack.api.subscribe(space, receiver.url("/a"), TYPE)
        event_id = await stack.api.send(space, TYPE, payload='{"n":  1}')
        await stack.api.wait_for_outcomes(space, event_id, "successful")
        first = await ask(stack, space, event_id)
        listed_at_once = await stack.api.list_attempts(space, event_id)
        await stack.api.wait_for_outcomes(space, event_id, "successful", "successful")
        second = await ask(stack, space, event_id)
        attempts = await stack.api.wait_for_outcomes(space, event_id, "successful", "successful", "successful")
        requests = receiver.requests("/a")

        assert (204, "") == first == second
        assert 2 == len(listed_at_once)
        assert [0, 1, 2] == [attempt["retry_count"] for attempt in attempts]
        assert 3 == len(requests)
        assert 1 == len({request.header("webhook-id") for request in requests})
        assert {b'{"n":  1}'} == {request.body for request in requests}
        for request in requests:
            assert ("hook0", "standardwebhooks", "svix") == verify_delivery(request, made["secret"])
        shown = await stack.api.call(
            "GET",
            f"/request_attempts/{attempts[-1]['request_attempt_id']}?application_id={space.application_id}",
            token=space.secret,
        )
        assert "successful" == shown.json["status"]["type"]
        assert receiver.url("/a") == shown.json["request"]["url"]


async def test_a_subscription_that_came_later_gets_it(stack: Stack) -> None:
    """A replay goes to those that select the event today, or to the one that is named."""
    space = await stack.api.make_space(TYPE)
    async with Receiver() as receiver:
        await stack.api.subscribe(space, receiver.url("/before"), TYPE)
        event_id = await stack.api.send(space, TYPE)
        await stack.api.wait_for_outcomes(space, event_id, "successful")
        later = await stack.api.subscribe(space, receiver.url("/later"), TYPE)
        asked = await ask(stack, space, event_id, subscription_id=later["subscription_id"])
        attempts = await stack.api.wait_for_outcomes(space, event_id, "successful", "successful")

        assert (204, "") == asked
        assert (1, 1) == (len(receiver.requests("/before")), len(receiver.requests("/later")))
        assert later["subscription_id"] == attempts[-1]["subscription"]["subscription_id"]
        assert 0 == attempts[-1]["retry_count"]


async def test_what_was_cancelled_is_sent_when_it_is_asked_for(stack: Stack) -> None:
    """Disabling cancels what waits; enabling again does not bring it back, a replay does, with a new schedule."""
    space = await stack.api.make_space(TYPE)
    async with Receiver() as receiver:
        receiver.script("/a", Status(500), Status(500), Status(200))
        members = {"delivery": {"retry_delays_s": [600]}}
        made = await stack.api.subscribe(space, receiver.url("/a"), TYPE, **members)
        event_id = await stack.api.send(space, TYPE)
        await stack.api.wait_for_outcomes(space, event_id, "failed", "waiting")
        path = f"/subscriptions/{made['subscription_id']}"
        for is_enabled in (False, True):
            body = describe_subscription(
                space.application_id, receiver.url("/a"), TYPE, is_enabled=is_enabled, delivery={"retry_delays_s": [1]}
            )
            assert 200 == (await stack.api.call("PUT", path, body)).status
        await stack.api.wait_for_outcomes(space, event_id, "failed", "failed")
        asked = await ask(stack, space, event_id)
        await eventually(lambda: len(receiver.requests("/a")) == 3, timeout_s=60)

        assert (204, "") == asked
        assert 1 == len({request.header("webhook-id") for request in receiver.requests("/a")})


async def test_what_cannot_be_replayed(stack: Stack) -> None:
    """An event that does not exist, a subscription that does not select it, an application of another organization."""
    own, other = await stack.api.make_space(TYPE), await stack.api.make_space(TYPE)
    event_id = await stack.api.send(own, TYPE)

    assert (404, "NotFound") == await ask(stack, own, str(uuid4()))
    assert (404, "NotFound") == await ask(stack, own, event_id, subscription_id=str(uuid4()))
    assert (404, "NotFound") == await ask(stack, other, event_id)
    assert (403, "Forbidden") == await ask(stack, other, event_id, application_id=own.application_id)
    assert (204, "") == await ask(stack, own, event_id)


async def test_a_replay_is_larger_than_the_buffer(kafka: str, postgres: str, migrated_template: str) -> None:
    """Each delivery has the payload in it: they are written in portions, and leave room for events of others."""
    names, buffer = ("gateway", "matcher", "archive"), str(8 * 1024 * 1024)
    async with run_stack(kafka, postgres, migrated_template, *names, KAFKA_PRODUCE_BUFFER_MAX_BYTES=buffer) as stack:
        space = await stack.api.make_space(TYPE)
        for _ in range(20):
            await stack.api.subscribe(space, "http://127.0.0.1:9/", TYPE)
        event_id = await stack.api.send(space, TYPE, payload=json.dumps("x" * 600_000))

        async def is_dispatched() -> bool:
            return 20 == len(await stack.api.list_attempts(space, event_id))

        await eventually(is_dispatched, timeout_s=60)
        asked = await ask(stack, space, event_id)
        attempts = await stack.api.list_attempts(space, event_id)

    assert (204, "") == asked
    assert 40 == len(attempts), "each was asked for once more"
