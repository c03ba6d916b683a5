"""Subscriptions whose endpoint is gone, or has failed for too long, are disabled, and their owner is notified."""

import json

import pytest

from tests.support.api import describe_subscription
from tests.support.eventually import eventually
from tests.support.receiver import FailTimes, Gone, Ok, Receiver, Status
from tests.support.stack import Stack, run_stack

TYPE = "billing.invoice.paid"
DISABLED = "hookline.subscription.disabled"


@pytest.mark.asyncio(loop_scope="package")
async def test_410_disables(stack: Stack) -> None:
    """An endpoint that answers 410 is asked no more: its subscription is disabled and says why, its owner is told."""
    space = await stack.api.make_space(TYPE)
    async with Receiver() as receiver:
        receiver.script("/gone", Gone())
        gone = await stack.api.subscribe(space, receiver.url("/gone"), TYPE)
        await stack.api.subscribe(space, receiver.url("/told"), DISABLED, labels={"hookline": "operational"})
        event_id = await stack.api.send(space, TYPE)
        path = f"/subscriptions/{gone['subscription_id']}"

        async def is_disabled() -> bool:
            return not (await stack.api.call("GET", path)).json["is_enabled"]

        await eventually(is_disabled)
        (told,) = await eventually(lambda: receiver.requests("/told"))
        shown = await stack.api.call("GET", path)
        # the archive may have the attempt later than the owner is told
        (attempt,) = await stack.api.wait_for_outcomes(space, event_id, "failed")
        body = describe_subscription(space.application_id, receiver.url("/gone"), TYPE)
        enabled = await stack.api.call("PUT", path, body)

        assert "gone" == shown.json["disabled_reason"]
        assert 410 == attempt["http_response_status"]
        assert "failed" == attempt["status"]["type"]
        assert DISABLED == told.header("X-Event-Type")
        assert gone["subscription_id"] == json.loads(told.body)["subscription_id"]
        assert "gone" == json.loads(told.body)["reason"]
        assert (True, None) == (enabled.json["is_enabled"], enabled.json["disabled_reason"])
        assert 1 == len(receiver.requests("/gone"))


@pytest.mark.asyncio(loop_scope="package")
async def test_what_waits_is_held_when_hookline_disables(stack: Stack) -> None:
    """Deliveries that waited arrive if the subscription, not disabled by its owner, is enabled within the day."""
    space = await stack.api.make_space(TYPE)
    async with Receiver() as receiver:
        receiver.script("/a", Status(503))
        created = await stack.api.subscribe(space, receiver.url("/a"), TYPE, delivery={"retry_delays_s": [4] * 9})
        for _ in range(3):
            await stack.api.send(space, TYPE)
        await eventually(lambda: len(receiver.requests("/a")) >= 3)
        receiver.script("/a", Gone())
        await stack.api.send(space, TYPE)
        path = f"/subscriptions/{created['subscription_id']}"

        async def is_disabled() -> bool:
            return not (await stack.api.call("GET", path)).json["is_enabled"]

        await eventually(is_disabled)
        asked = len(receiver.requests("/a"))
        receiver.script("/a", Ok())
        body = describe_subscription(space.application_id, receiver.url("/a"), TYPE)
        await stack.api.call("PUT", path, body)
        before = {request.header("webhook-id") for request in receiver.requests("/a")[:3]}
        await eventually(
            lambda: before <= {request.header("webhook-id") for request in receiver.requests("/a")[asked:]},
            timeout_s=90,
        )


async def test_failing_for_long_disables(kafka: str, postgres: str, migrated_template: str) -> None:
    """A subscription without a success for the set time is disabled; one that recovers in time is not."""
    names = ("gateway", "matcher", "deliver", "archive")
    async with (
        run_stack(kafka, postgres, migrated_template, *names, DELIVER_DISABLE_AFTER_S="6") as stack,
        Receiver() as receiver,
    ):
        space = await stack.api.make_space(TYPE)
        receiver.script("/fails", Status(500))
        receiver.script("/recovers", FailTimes(2))
        delivery = {"retry_delays_s": [0.3] * 50}
        failing = await stack.api.subscribe(space, receiver.url("/fails"), TYPE, delivery=delivery)
        recovering = await stack.api.subscribe(space, receiver.url("/recovers"), TYPE, delivery=delivery)
        await stack.api.send(space, TYPE)

        async def is_disabled() -> bool:
            return not (await stack.api.call("GET", f"/subscriptions/{failing['subscription_id']}")).json["is_enabled"]

        await eventually(is_disabled, timeout_s=60)
        shown = (await stack.api.call("GET", f"/subscriptions/{failing['subscription_id']}")).json
        await stack.api.send(space, TYPE)
        await eventually(lambda: 4 == len(receiver.requests("/recovers")))

        assert "failing" == shown["disabled_reason"]
        assert shown["health"]["failing_since"] is not None
        assert "E_HTTP" in shown["health"]["last_error"]
        other = (await stack.api.call("GET", f"/subscriptions/{recovering['subscription_id']}")).json
        assert other["is_enabled"]


@pytest.mark.asyncio(loop_scope="package")
async def test_reserved_event_types_cannot_be_made(stack: Stack) -> None:
    """Names of operational events are reserved, and no client can send such an event."""
    space = await stack.api.make_space(TYPE)
    body = {"application_id": space.application_id, "service": "hookline", "resource_type": "a", "verb": "b"}
    refused = await stack.api.call("POST", "/event_types", body)

    assert (422, "Validation") == refused.problem


@pytest.mark.asyncio(loop_scope="package")
async def test_a_rotated_secret_signs_beside_the_old_one(stack: Stack) -> None:
    """A receiver can verify with either secret while the overlap lasts; the API shows the new one."""
    from tests.support.verification import verify_delivery, verify_standard

    space = await stack.api.make_space(TYPE)
    async with Receiver() as receiver:
        created = await stack.api.subscribe(space, receiver.url("/a"), TYPE)
        path = f"/subscriptions/{created['subscription_id']}"
        rotated = await stack.api.call(
            "POST", f"{path}/rotate_secret", {"application_id": space.application_id, "overlap_s": 600}
        )
        await stack.api.send(space, TYPE)
        (request,) = await eventually(lambda: receiver.requests("/a"))

        assert 200 == rotated.status
        assert created["secret"] != rotated.json["secret"]
        verify_delivery(request, rotated.json["secret"])
        verify_standard(request, created["secret"])
        assert 2 == len(request.header("webhook-signature").split())
        for secret, status in (("whsec_nonsense", 422), ("x", 422), (created["standard_webhooks_secret"], 200)):
            reply = await stack.api.call(
                "POST", f"{path}/rotate_secret", {"application_id": space.application_id, "secret": secret}
            )

            assert status == reply.status
        assert created["secret"] == (await stack.api.call("GET", path)).json["secret"]
