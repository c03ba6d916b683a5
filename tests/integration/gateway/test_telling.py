"""Operational events for owners, as their receivers get them."""

import json
from typing import Any

import psycopg
import pytest

from pipeline.core.events.operational import (
    ATTEMPT_FAILING,
    CHANGES,
    DELIVERY_EXHAUSTED,
    SUBSCRIPTION_FAILING,
    SUBSCRIPTION_RECOVERED,
)
from tests.support.api import describe_subscription
from tests.support.eventually import eventually
from tests.support.receiver import Ok, Receiver, Status
from tests.support.stack import Stack

pytestmark = pytest.mark.asyncio(loop_scope="package")

TYPE = "billing.invoice.paid"
OPERATIONAL = {"hookline": "operational"}
THREE_DAYS_US = 3 * 86_400_000_000


def read_told(receiver: Receiver) -> list[tuple[str, dict[str, Any]]]:
    """Type and payload of what came, in order."""
    return [(each.header("X-Event-Type"), json.loads(each.body)) for each in receiver.requests("/told")]


async def test_a_failing_endpoint_is_told_of_before_it_is_disabled(stack: Stack) -> None:
    """Owners are notified once when half of the time has passed (set in the database), and once at the recovery."""
    space = await stack.api.make_space(TYPE)
    async with Receiver() as receiver:
        receiver.script("/a", Status(500))
        types = (SUBSCRIPTION_FAILING, SUBSCRIPTION_RECOVERED)
        await stack.api.subscribe(space, receiver.url("/told"), *types, labels=OPERATIONAL)
        ailing = await stack.api.subscribe(space, receiver.url("/a"), TYPE, delivery={"retry_delays_s": [2] * 50})
        subscription_id = ailing["subscription_id"]
        await stack.api.send(space, TYPE)

        def pretend() -> bool:
            with psycopg.connect(stack.database_url) as connection:
                cursor = connection.execute(
                    "update endpoint_states set failing_since_us = failing_since_us - %s "
                    "where subscription_id = %s and failing_since_us > 0",
                    (THREE_DAYS_US, subscription_id),
                )
                return cursor.rowcount == 1

        await eventually(pretend)
        ((event_type, warning),) = await eventually(lambda: read_told(receiver))
        receiver.script("/a", Ok())
        await eventually(lambda: len(read_told(receiver)) >= 2)
        (_, (recovered, news)) = read_told(receiver)[:2]

        assert (SUBSCRIPTION_FAILING, subscription_id) == (event_type, warning["subscription_id"])
        assert 5 * 86_400 == warning["disable_after_s"]
        assert (SUBSCRIPTION_RECOVERED, subscription_id) == (recovered, news["subscription_id"])
        assert warning["failing_since_us"] == news["failing_since_us"]


async def test_changes_are_told_to_who_wants_to_know(stack: Stack) -> None:
    """Each names its author; an application without a subscription to them has no such events."""
    space, quiet = await stack.api.make_space(TYPE), await stack.api.make_space(TYPE)
    async with Receiver() as receiver:
        await stack.api.subscribe(space, receiver.url("/told"), *sorted(CHANGES), labels=OPERATIONAL)
        for each in (space, quiet):
            made = await stack.api.subscribe(each, receiver.url("/a"), TYPE)
            path = f"/subscriptions/{made['subscription_id']}"
            body = describe_subscription(each.application_id, receiver.url("/b"), TYPE, is_enabled=False)
            assert 200 == (await stack.api.call("PUT", path, body, token=each.secret)).status
            query = f"?application_id={each.application_id}"
            assert 204 == (await stack.api.call("DELETE", path + query, token=each.secret)).status
            name = {"organization_id": each.organization_id, "name": "Another"}
            assert 200 == (await stack.api.call("PUT", f"/applications/{each.application_id}", name)).status
        wanted = {
            "hookline.subscription.created",
            "hookline.subscription.changed",
            "hookline.subscription.deleted",
            "hookline.application.changed",
        }

        # the subscription that tells is told of as well: it was there when its own making was noted
        await eventually(lambda: wanted <= dict(read_told(receiver)).keys())
        told = dict(read_told(receiver))
        changed = told["hookline.subscription.changed"]
        events = await stack.api.call("GET", f"/events?application_id={quiet.application_id}")

        assert {"kind": "application_secret", "id": space.application_id} == changed["actor"]
        assert ["is_enabled", "target_url"] == changed["changed"]
        assert {"kind": "master_key", "id": None} == told["hookline.application.changed"]["actor"]
        assert space.application_id == told["hookline.application.changed"]["application_id"]
        assert [] == events.json


async def test_deliveries_that_were_given_up_are_told_of(stack: Stack) -> None:
    """Each once, with its dead letter; without a subscription there is no such event, and no letter causes another."""
    space, quiet = await stack.api.make_space(TYPE), await stack.api.make_space(TYPE)
    async with Receiver() as receiver:
        for path in ("/a", "/deaf"):
            receiver.script(path, *[Status(500)] * 9)
        for name in ("/told", "/deaf"):
            await stack.api.subscribe(
                space,
                receiver.url(name),
                DELIVERY_EXHAUSTED,
                labels=OPERATIONAL,
                delivery={"retry_delays_s": []},
            )
        made = [
            await stack.api.subscribe(each, receiver.url("/a"), TYPE, delivery={"retry_delays_s": []})
            for each in (quiet, space)
        ]
        event_ids = [await stack.api.send(each, TYPE) for each in (quiet, space)]
        ((event_type, told),) = await eventually(lambda: read_told(receiver))

        async def list_letters(count: int) -> list[dict[str, Any]]:
            reply = await stack.api.call("GET", f"/dead_letters?application_id={space.application_id}")
            assert count == len(reply.json)
            return list(reply.json)

        # the event's, and that of the endpoint that takes no news
        letters = await eventually(lambda: list_letters(2))
        letter = next(each for each in letters if each["event_id"] == event_ids[1])
        events = await stack.api.call("GET", f"/events?application_id={quiet.application_id}")

        assert DELIVERY_EXHAUSTED == event_type
        assert {
            "subscription_id": made[1]["subscription_id"],
            "delivery_id": letter["delivery_id"],
            "event_id": event_ids[1],
            "dead_id": letter["dead_id"],
            "reason": "exhausted",
        } == told
        assert [event_ids[0]] == [each["event_id"] for each in events.json]

        def is_nothing_left() -> bool:
            """A letter that was told of is forgotten a moment after the message was sent."""
            applications = [space.application_id, quiet.application_id]
            with psycopg.connect(stack.database_url) as connection:
                left = connection.execute(
                    "select from letters_to_tell where application_id = any(%s::uuid[])", (applications,)
                ).fetchall()
            return not left

        await eventually(is_nothing_left)


async def test_a_letter_is_archived_of_which_nobody_can_be_told(stack: Stack) -> None:
    """A constraint of the operator's takes the note alone; the server's log says it."""
    space = await stack.api.make_space(TYPE)
    async with Receiver() as receiver:
        receiver.script("/a", Status(500))
        await stack.api.subscribe(space, receiver.url("/told"), DELIVERY_EXHAUSTED, labels=OPERATIONAL)
        await stack.api.subscribe(space, receiver.url("/a"), TYPE, delivery={"retry_delays_s": []})
        with psycopg.connect(stack.database_url, autocommit=True) as connection:
            connection.execute(
                "alter table letters_to_tell add constraint not_theirs "
                f"check (application_id <> '{space.application_id}') not valid".encode()
            )
            try:
                await stack.api.send(space, TYPE)

                async def list_reasons() -> list[str]:
                    reply = await stack.api.call("GET", f"/dead_letters?application_id={space.application_id}")
                    return [each["reason"] for each in reply.json]

                assert ["exhausted"] == await eventually(list_reasons)
            finally:
                connection.execute("alter table letters_to_tell drop constraint not_theirs")

        assert [] == read_told(receiver)


async def test_deliveries_that_go_on_failing_are_told_of(stack: Stack) -> None:
    """Owners are notified once, at the fourth failed attempt; not of the notified endpoint itself, nor unasked."""
    space, quiet = await stack.api.make_space(TYPE), await stack.api.make_space(TYPE)
    often = {"retry_delays_s": [0, 0, 0, 0, 3600]}
    async with Receiver() as receiver:
        receiver.script("/a", *[Status(503)] * 20)
        receiver.script("/deaf", *[Status(500)] * 20)
        await stack.api.subscribe(space, receiver.url("/told"), ATTEMPT_FAILING, labels=OPERATIONAL)
        await stack.api.subscribe(space, receiver.url("/deaf"), ATTEMPT_FAILING, labels=OPERATIONAL, delivery=often)
        made = [await stack.api.subscribe(each, receiver.url("/a"), TYPE, delivery=often) for each in (quiet, space)]
        event_ids = [await stack.api.send(each, TYPE) for each in (quiet, space)]
        await eventually(lambda: len(receiver.requests("/deaf")) == 5, timeout_s=60)
        # two endpoints, side by side: one may be through with all attempts before the other has got anything
        ((event_type, told),) = await eventually(lambda: read_told(receiver))
        attempts = await stack.api.wait_for_outcomes(space, event_ids[1], *["failed"] * 5, "waiting")
        fourth = next(each for each in attempts if each["retry_count"] == 3)
        quiet_events = await stack.api.call("GET", f"/events?application_id={quiet.application_id}")

        assert ATTEMPT_FAILING == event_type
        assert {
            "subscription_id": made[1]["subscription_id"],
            "delivery_id": fourth["delivery_id"],
            "event_id": event_ids[1],
            "request_attempt_id": fourth["request_attempt_id"],
            "attempts": 4,
            "error": "E_HTTP",
            "http_response_status": 503,
            "next_attempt_at": told["next_attempt_at"],
        } == told
        assert [event_ids[0]] == [each["event_id"] for each in quiet_events.json]
