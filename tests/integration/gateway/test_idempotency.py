"""Repeats, and other content under a known id or key: distinguished at every gateway, as long as ids are known."""

import asyncio
import base64
from collections import Counter
from typing import Any
from uuid import uuid4

import pytest

from tests.support.api import Reply, Space, describe_event
from tests.support.eventually import eventually
from tests.support.receiver import Receiver
from tests.support.stack import Stack

pytestmark = pytest.mark.asyncio(loop_scope="package")

TYPE = "billing.invoice.paid"
CHANGES: dict[str, dict[str, Any]] = {
    "payload": {"payload": '{"n":2}'},
    "labels": {"labels": {"all": "no"}},
    "metadata": {"metadata": {"a": "b"}},
    "content type": {"payload_content_type": "text/plain"},
    "large payload": {"payload": '"' + "x" * 100_000 + '"'},
}


def make(space: Space, **members: Any) -> dict[str, Any]:
    event = describe_event(space.application_id, TYPE) | {"event_id": None} | members
    return {name: value for name, value in event.items() if name != "application_id"}


async def send(stack: Stack, space: Space, events: list[Any], key: str | None, *, gateway: int = 0) -> Reply:
    headers = {"Authorization": f"Bearer {space.secret}", "Content-Type": "application/json"}
    body = {"application_id": space.application_id, "events": events}
    return await stack.apis[gateway].call(
        "POST", "/events", body, headers=headers | ({"Idempotency-Key": key} if key is not None else {})
    )


async def list_events(stack: Stack, space: Space) -> list[dict[str, Any]]:
    """All of the application, once the archive has them."""
    reply = await stack.api.call("GET", f"/events?application_id={space.application_id}", token=space.secret)
    events: list[dict[str, Any]] = reply.json
    return events


@pytest.mark.parametrize("what", CHANGES)
async def test_other_events_under_a_key_are_refused(stack: Stack, what: str) -> None:
    """422 with its own problem (draft-ietf-httpapi-idempotency-key-header §2.7), also at a gateway that only has the
    archive to ask; nothing of the second batch exists, and the first one is still answered as before.
    """
    space = await stack.api.make_space(TYPE)
    events, key = [make(space), make(space, payload='{"n":3}')], str(uuid4())
    accepted = await send(stack, space, events, key)
    changed = [events[0], events[1] | CHANGES[what]]
    here = await send(stack, space, changed, key)
    before = await list_events(stack, space)
    elsewhere = await send(stack, space, changed, key, gateway=1)
    again = [await send(stack, space, events, key, gateway=gateway) for gateway in (0, 1)]

    assert [201, 201] == [result["status"] for result in accepted.json["results"]]
    assert (422, "IdempotencyKeyReused") == here.problem
    assert (422, "IdempotencyKeyReused") == elsewhere.problem
    assert [[True, True]] * 2 == [[result["repeated"] for result in reply.json["results"]] for reply in again]
    assert 2 == len(before) == len(await list_events(stack, space))


async def test_more_or_fewer_events_under_a_key_are_refused(stack: Stack) -> None:
    """Another number or order of events is another batch."""
    space = await stack.api.make_space(TYPE)
    events, key = [make(space, payload=str(number)) for number in range(3)], str(uuid4())
    await send(stack, space, events, key)
    for other in (events[:2], [*events, make(space)], events[::-1], [*events[:2], 7]):
        reply = await send(stack, space, other, key)

        assert (422, "IdempotencyKeyReused") == reply.problem
    assert 3 == len(await list_events(stack, space))


async def test_a_time_of_sending_is_no_difference(stack: Stack) -> None:
    """Clients that leave `occurred_at` to their library send another one with each attempt of the same event."""
    space = await stack.api.make_space(TYPE)
    event, key = make(space), str(uuid4())
    await send(stack, space, [event], key)
    later = event | {"occurred_at": "2026-02-03T04:05:06Z"}
    again = await send(stack, space, [later], key)

    assert [True] == [result["repeated"] for result in again.json["results"]]


@pytest.mark.parametrize("what", CHANGES)
async def test_another_event_under_an_id_is_told_apart(stack: Stack, what: str) -> None:
    """A repeat is answered with 409, another event under the id with 422, at every gateway, alone and in a batch."""
    space = await stack.api.make_space(TYPE)
    event = describe_event(space.application_id, TYPE)
    other = event | CHANGES[what]
    await stack.api.call("POST", "/event", event, token=space.secret)
    replies = []
    for gateway in (0, 1):
        replies += [
            await stack.apis[gateway].call("POST", "/event", body, token=space.secret) for body in (event, other)
        ]
        batch = await send(stack, space, [event, other], None, gateway=gateway)
        await list_events(stack, space)  # the archive has it now

        assert [409, 422] == [result["status"] for result in batch.json["results"]]
        assert "EventIdReused" == batch.json["results"][1]["problem"]["id"]
    assert [(409, "EventAlreadyIngested"), (422, "EventIdReused")] * 2 == [reply.problem for reply in replies]


async def test_two_events_with_one_id_in_one_batch(stack: Stack) -> None:
    """The first is accepted; the second is the same, or another one."""
    space = await stack.api.make_space(TYPE)
    event = make(space, event_id=str(uuid4()))
    reply = await send(stack, space, [event, event, event | {"payload": "2"}], None)

    assert [201, 409, 422] == [result["status"] for result in reply.json["results"]]


async def test_an_id_that_was_answered_is_known(stack: Stack) -> None:
    """An event without an id, sent again with the id that was answered: alone, and from a batch."""
    space = await stack.api.make_space(TYPE)
    event = describe_event(space.application_id, TYPE, event_id=None)
    made = [(await stack.api.call("POST", "/event", event, token=space.secret)).json["event_id"]]
    made.append((await send(stack, space, [make(space)], None)).json["results"][0]["event_id"])
    for gateway in (0, 1):
        for event_id in made:
            again = await stack.apis[gateway].call("POST", "/event", event | {"event_id": event_id}, token=space.secret)

            assert (409, "EventAlreadyIngested") == again.problem
        await list_events(stack, space)


async def test_a_clash_of_two_gateways_loses_nothing(stack: Stack) -> None:
    """Two events with one id at two gateways at the same moment: each is delivered, refused, or a dead letter."""
    space = await stack.api.make_space(TYPE)
    async with Receiver() as receiver:
        await stack.api.subscribe(space, receiver.url("/a"), TYPE)
        bodies = [
            [describe_event(space.application_id, TYPE, payload=f'"{side}{number}"') for side in "ab"]
            for number in range(30)
        ]
        for first, second in bodies:
            second["event_id"] = first["event_id"]
        replies = await asyncio.gather(
            *(
                api.call("POST", "/event", body, token=space.secret)
                for pair in bodies
                for api, body in zip(stack.apis, pair, strict=True)
            )
        )
        statuses = Counter(reply.status for reply in replies)
        path = f"/dead_letters?application_id={space.application_id}"

        async def find_all() -> bool:
            letters = (await stack.api.call("GET", path, token=space.secret)).json
            reasons = {letter["reason"] for letter in letters}
            assert reasons <= {"id_reused"}, reasons
            return len(receiver.requests("/a")) + len(letters) == statuses[201]

        await eventually(find_all, timeout_s=60)

        assert {201, 422} >= statuses.keys()
        assert len(bodies) == len(receiver.requests("/a"))
        shown = await asyncio.gather(
            *(
                stack.api.call("GET", f"/events/{first['event_id']}?application_id={space.application_id}")
                for first, _ in bodies
            )
        )
        delivered = {request.header("X-Event-Id"): request.body for request in receiver.requests("/a")}
        assert delivered == {reply.json["event_id"]: base64.b64decode(reply.json["payload"]) for reply in shown}
