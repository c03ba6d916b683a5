"""Subscriptions that select by patterns of types and by what is in a payload."""

import json
from typing import Any

import pytest

from tests.support.api import Space
from tests.support.eventually import eventually
from tests.support.receiver import Receiver
from tests.support.stack import Stack

pytestmark = pytest.mark.asyncio(loop_scope="package")

PAID, OPEN, OTHER = "billing.invoice.paid", "billing.invoice.open", "shop.order.paid"
LARGE = {"path": "/total", "op": "gte", "value": 100}


async def list_targets(stack: Stack, space: Space, event_id: str) -> set[str]:
    """The subscriptions that an event went to, by their descriptions."""

    async def find() -> set[str]:
        attempts = await stack.api.list_attempts(space, event_id)
        assert {"successful"} >= {attempt["status"]["type"] for attempt in attempts}
        return {attempt["subscription"]["description"] for attempt in attempts} | {"(found)"}

    return await eventually(find) - {"(found)"}


async def test_patterns_and_filters_decide_together(stack: Stack) -> None:
    """Both decide from the very next event on; a type that comes later is selected too."""
    space = await stack.api.make_space(PAID, OPEN)
    async with Receiver() as receiver:
        wanted: dict[str, tuple[list[str], dict[str, Any] | None]] = {
            "paid": (["*.*.paid"], None),
            "all": (["**"], None),
            "large": (["billing.**"], LARGE),
            "small": ([PAID], {"not": LARGE}),
        }
        for name, (types, payload_filter) in wanted.items():
            made = await stack.api.subscribe(
                space, receiver.url("/a"), *types, description=name, payload_filter=payload_filter
            )

            assert payload_filter == made["payload_filter"]
        sent = {
            "large": await stack.api.send(space, PAID, payload=json.dumps({"total": 100})),
            "small": await stack.api.send(space, PAID, payload=json.dumps({"total": 99})),
            "open": await stack.api.send(space, OPEN, payload=json.dumps({"total": 200})),
            "text": await stack.api.send(space, OPEN, payload="total", payload_content_type="text/plain"),
        }
        service, resource_type, verb = OTHER.split(".")
        members = {"service": service, "resource_type": resource_type, "verb": verb}
        created = await stack.api.call("POST", "/event_types", {"application_id": space.application_id} | members)
        sent["other"] = await stack.api.send(space, OTHER)
        found = {name: await list_targets(stack, space, event_id) for name, event_id in sent.items()}

    assert 201 == created.status
    assert {
        "large": {"paid", "all", "large"},
        "small": {"paid", "all", "small"},
        "open": {"all", "large"},
        "text": {"all"},
        "other": {"paid", "all"},
    } == found


async def test_a_filter_is_tried(stack: Stack) -> None:
    """A filter is tried on a payload or on an event; what is no filter is refused, here and in a subscription."""
    space = await stack.api.make_space(PAID)
    event_id = await stack.api.send(space, PAID, payload=json.dumps({"total": 100}))

    async def ask(**members: Any) -> Any:
        body = {"application_id": space.application_id, "payload_filter": LARGE} | members
        return await stack.api.call("POST", "/subscriptions/test_filter", body, token=space.secret)

    assert {"accepts": True, "conditions": 1} == (await ask(event_id=event_id)).json
    assert {"accepts": False, "conditions": 1} == (await ask(payload='{"total": 1}')).json
    assert (400, "EventInvalidJsonPayload") == (await ask(payload="{")).problem
    for members in ({}, {"payload": "{}", "event_id": event_id}, {"payload": "{}", "payload_filter": {"op": "eq"}}):
        assert (422, "Validation") == (await ask(**members)).problem
    assert (404, "NotFound") == (await ask(event_id=space.application_id)).problem
