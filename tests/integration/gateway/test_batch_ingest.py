"""Events in batches: each is checked, accepted or refused by itself; a batch can be sent again as it is."""

from typing import Any
from uuid import uuid4

import pytest

from tests.support.api import Reply, Space, describe_event
from tests.support.eventually import eventually
from tests.support.receiver import Receiver
from tests.support.stack import Stack

pytestmark = pytest.mark.asyncio(loop_scope="package")

TYPE = "billing.invoice.paid"


def make(space: Space, **members: Any) -> dict[str, Any]:
    event = describe_event(space.application_id, TYPE) | members
    return {name: value for name, value in event.items() if name != "application_id"}


async def send(stack: Stack, space: Space, events: list[Any], *, key: str | None = None, gateway: int = 0) -> Reply:
    headers = {"Authorization": f"Bearer {space.secret}", "Content-Type": "application/json"}
    body = {"application_id": space.application_id, "events": events}
    return await stack.apis[gateway].call(
        "POST", "/events", body, headers=headers | ({"Idempotency-Key": key} if key is not None else {})
    )


async def test_a_batch_is_accepted_and_delivered(stack: Stack) -> None:
    """Every event of a batch gets its result in its place, and is delivered."""
    space = await stack.api.make_space(TYPE)
    async with Receiver() as receiver:
        await stack.api.subscribe(space, receiver.url("/a"), TYPE)
        events = [make(space, payload=str(number)) for number in range(1000)]
        reply = await send(stack, space, events)
        await eventually(lambda: len(receiver.requests("/a")) == 1000, timeout_s=60)

        assert 200 == reply.status
        assert [(201, event["event_id"]) for event in events] == [
            (result["status"], result["event_id"]) for result in reply.json["results"]
        ]
        assert {event["event_id"]: event["payload"].encode() for event in events} == {
            request.header("X-Event-Id"): request.body for request in receiver.requests("/a")
        }


async def test_each_event_has_its_own_result(stack: Stack) -> None:
    """A mistake in one event is reported in its place and does not affect the others."""
    space = await stack.api.make_space(TYPE)
    known = make(space)
    await send(stack, space, [known])
    twice = make(space)
    events = [
        make(space),
        known,
        make(space, labels={}),
        make(space, payload="{nope"),
        make(space, event_type="a.b.c"),
        {"event_type": TYPE},
        7,
        twice,
        twice,
        make(space, event_id=None),
    ]
    reply = await send(stack, space, events)
    results = reply.json["results"]

    assert [201, 409, 422, 400, 400, 400, 400, 201, 409, 201] == [result["status"] for result in results]
    assert [
        None,
        "EventAlreadyIngested",
        "Validation",
        "EventInvalidJsonPayload",
        "EventTypeDoesNotExist",
        "JsonPayload",
        "JsonPayload",
        None,
        "EventAlreadyIngested",
        None,
    ] == [result["problem"]["id"] if "problem" in result else None for result in results]


async def test_a_batch_with_a_key_can_be_sent_again(stack: Stack) -> None:
    """One batch under one Idempotency-Key is accepted once, through whichever gateway, and answered alike."""
    space = await stack.api.make_space(TYPE)
    async with Receiver() as receiver:
        await stack.api.subscribe(space, receiver.url("/a"), TYPE)
        events = [make(space, event_id=None) for _ in range(5)]
        key = str(uuid4())
        first = await send(stack, space, events, key=key)
        again = await send(stack, space, events, key=key)
        await stack.api.call("GET", f"/events?application_id={space.application_id}")  # the archive has them now
        elsewhere = await send(stack, space, events, key=key, gateway=1)
        other = await send(stack, space, events, key=str(uuid4()))
        await eventually(lambda: len(receiver.requests("/a")) == 10)

        ids = [[result["event_id"] for result in reply.json["results"]] for reply in (first, again, elsewhere, other)]
        assert ids[0] == ids[1] == ids[2]
        assert not set(ids[0]) & set(ids[3])
        statuses = {result["status"] for reply in (first, again, elsewhere) for result in reply.json["results"]}
        assert {201} == statuses
        assert all(result["repeated"] for result in again.json["results"])


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"events": []}, (422, "Validation")),
        ({"events": [1] * 1001}, (422, "Validation")),
        ({"events": {}}, (400, "JsonPayload")),
        ({}, (400, "JsonPayload")),
        ({"application_id": str(uuid4()), "events": [1]}, (403, "Forbidden")),
    ],
)
async def test_refused_batches(stack: Stack, body: dict[str, Any], expected: tuple[int, str]) -> None:
    """A body that is no batch, an empty one, one too long, or one of another application is refused as a whole."""
    space = await stack.api.make_space(TYPE)
    reply = await stack.api.call("POST", "/events", {"application_id": space.application_id} | body, token=space.secret)

    assert expected == reply.problem
