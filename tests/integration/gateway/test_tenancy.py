"""One organization and another: nothing of the other is seen, changed or learned of, by whatever operation and token.

Each operation of the API's document is asked with the other's ids, in every place where an id can stand, and with ids
that do not exist in the same places. Both must be answered in the same way, and nothing of the other may have changed.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest

from tests.integration.gateway.inputs import Operation, list_operations
from tests.support.api import OCCURRED_AT, Reply, Space
from tests.support.eventually import eventually
from tests.support.receiver import Receiver
from tests.support.stack import Stack

pytestmark = pytest.mark.asyncio(loop_scope="package")

TYPE = "billing.invoice.paid"
# what a body can do without, or what would refuse it before an id in it is looked at
LEFT_OUT = frozenset(
    {
        "dedicated_workers",
        "delivery",
        "label_key",
        "label_value",
        "secret",
        "reason",
        "overlap_s",
        "retry_schedule_id",
    }
)
UUID_TEXT = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """An organization with one of everything. `known`: member → id; `marks`: texts that others may not see."""

    space: Space
    token: str
    known: dict[str, str]
    marks: frozenset[str]


async def make_tenant(stack: Stack, receiver: Receiver, name: str) -> Tenant:
    """One of everything, a dead letter as well."""
    space = await stack.api.make_space(TYPE)
    body = {"organization_id": space.organization_id, "name": f"token of {name}"}
    token = (await stack.api.call("POST", "/service_token", body)).json
    made = await stack.api.subscribe(
        space, receiver.url(f"/{name}"), TYPE, description=f"mark of {name}", metadata={"mark": f"metadata of {name}"}
    )
    schedule = {"application_id": space.application_id, "name": f"schedule of {name}", "retry_delays_s": [1]}
    schedule = (await stack.api.call("POST", "/retry_schedules", schedule)).json
    event_id = await stack.api.send(space, TYPE, payload=json.dumps(f"payload of {name}"))

    async def find_delivery() -> Any:
        reply = await stack.api.call("GET", f"/deliveries?application_id={space.application_id}")
        assert 1 == len(reply.json)
        (delivery,) = reply.json
        assert "delivered" == delivery["state"]["type"]
        return delivery

    delivery = await eventually(find_delivery)
    known = {
        "application_id": space.application_id,
        "organization_id": space.organization_id,
        "subscription_id": made["subscription_id"],
        "event_id": event_id,
        "delivery_id": delivery["delivery_id"],
        "request_attempt_id": delivery["last_attempt_id"],
        "response_id": delivery["last_attempt_id"],
        "dead_id": str(uuid4()),
        "dead_ids": str(uuid4()),
        "retry_schedule_id": schedule["retry_schedule_id"],
        "token": space.secret,
        "token_id": token["token_id"],
        "q": delivery["delivery_id"],
    }
    marks = frozenset({made["secret"], token["biscuit"], f"of {name}"})
    return Tenant(space=space, token=token["biscuit"], known=known, marks=marks)


def mix(own: Tenant, foreign: dict[str, str]) -> Iterator[tuple[str, dict[str, str]]]:
    """All ids are foreign; all but the application; all but the organization; all but both."""
    for kept in ((), ("application_id",), ("organization_id",), ("application_id", "organization_id")):
        yield "+".join(kept) or "none", foreign | {name: own.known[name] for name in kept}


def make_known(ids: dict[str, str]) -> dict[str, str]:
    """Make known what makes a body valid."""
    return ids | {
        "name": TYPE,
        "example": "{}",
        "event_type": TYPE,
        "event_types": TYPE,
        "payload": "{}",
        "payload_content_type": "application/json",
        "occurred_at": OCCURRED_AT,
        "min_died_at": OCCURRED_AT.replace("2026", "2020"),
        "max_died_at": OCCURRED_AT,
        "method": "POST",
        "url": "http://example.com/",
        "description": "changed",
    }


async def ask(stack: Stack, operation: Operation, known: dict[str, str], token: str) -> Reply:
    """One request, its ids in path, query and body."""
    path = operation.path.removeprefix("/api/v1")
    for name in operation.path_names:
        path = path.replace(f"{{{name}}}", known.get(name, str(uuid4())))
    names = ("application_id", "organization_id", "subscription_id", "event_id", "q")
    body = operation.body
    if isinstance(body, dict):
        body = {name: value for name, value in body.items() if name not in LEFT_OUT}
        if "payload_filter" in body and "event_id" in body:
            body.pop("payload")
    query = {name: known[name] for name in names if name in known}
    return await stack.api.call(operation.method, path, body, token=token, query=query)


def summarise(reply: Reply) -> tuple[int, str]:
    """Summarise an answer; ids are alike, and the caller's own objects may change meanwhile."""
    return reply.status, UUID_TEXT.sub("id", reply.text) if reply.status >= 400 else ""


async def take_stock(stack: Stack, tenant: Tenant) -> dict[str, Any]:
    """All that the API shows of a tenant."""
    application = {"application_id": tenant.space.application_id}
    organization = {"organization_id": tenant.space.organization_id}
    shown = {}
    for path, query in (
        ("/subscriptions", application),
        ("/event_types", application),
        ("/application_secrets", application),
        ("/events", application),
        ("/deliveries", application),
        ("/request_attempts", application),
        ("/dead_letters", application),
        ("/retry_schedules", application),
        ("/applications", organization),
        ("/service_token", organization),
        (f"/organizations/{tenant.space.organization_id}", {}),
    ):
        shown[path] = (await stack.api.call("GET", path, query=query)).json
    return shown


async def test_another_organization_does_not_exist(stack: Stack) -> None:
    """Ids of another organization are answered as ids that do not exist, and nothing of it is shown or changed."""
    async with Receiver() as receiver:
        own, other = await make_tenant(stack, receiver, "ours"), await make_tenant(stack, receiver, "theirs")
        before = await take_stock(stack, other)
        unknown = {name: str(uuid4()) for name in other.known}
        wrong = []
        asked = 0
        for token in (own.space.secret, own.token):
            for (kept, theirs), (_, none) in zip(mix(own, other.known), mix(own, unknown), strict=True):
                pairs = zip(list_operations(make_known(theirs)), list_operations(make_known(none)), strict=True)
                # event ids are unique within an application: ours has an event under theirs as soon as it sends one
                hidden = {value for name, value in theirs.items() if name not in kept and name != "event_id"}
                for operation, same in pairs:
                    if operation.path.startswith(("/api/v1/auth/", "/api/v1/register")):
                        continue  # names no tenant, and is refused after some attempts
                    foreign_names = {name for name in operation.path_names if name in theirs and name not in kept}
                    if operation.method == "DELETE" and not foreign_names:
                        continue  # it would delete our own
                    reply = await ask(stack, operation, make_known(theirs), token)
                    missing = await ask(stack, same, make_known(none), token)
                    asked += 1
                    about = f"{operation.method} {operation.path}, own: {kept}"
                    if any(mark in reply.text for mark in other.marks):
                        wrong.append(f"{about}: shows {reply.text[:300]}")
                    if summarise(reply) != summarise(missing):
                        wrong.append(f"{about}: {summarise(reply)} is not {summarise(missing)}")
                    if operation.method == "GET" and reply.status == 200 and any(each in reply.text for each in hidden):
                        wrong.append(f"{about}: knows of {reply.text[:300]}")
        after = await take_stock(stack, other)

        assert not wrong, "\n".join(wrong)
        assert before == after
        assert 1 == len(receiver.requests("/theirs"))
        assert asked > 200
