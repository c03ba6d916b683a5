"""Quotas: Hook0's problems, on two gateways that count together."""

import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio

from pipeline.core.events.operational import QUOTA_NEAR, QUOTA_REACHED
from tests.support.api import Space, describe_event, describe_type
from tests.support.eventually import eventually
from tests.support.people import make_person
from tests.support.receiver import Receiver
from tests.support.stack import Stack, run_stack

pytestmark = pytest.mark.asyncio(loop_scope="module")

TYPE, OTHER = "billing.invoice.paid", "billing.invoice.sent"
DAILY = 10
QUOTAS = ("members_per_organization", "applications_per_organization", "events_per_day", "event_types_per_application")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(kafka: str, postgres: str, migrated_template: str) -> AsyncIterator[Stack]:
    settings = {
        "QUOTAS_MEMBERS_PER_ORGANIZATION": "1",
        "QUOTAS_APPLICATIONS_PER_ORGANIZATION": "2",
        "QUOTAS_EVENT_TYPES_PER_APPLICATION": "2",
        "QUOTAS_EVENTS_PER_DAY": str(DAILY),
        "GATEWAY_SUBSCRIPTIONS_MAX": "7",
        "ARCHIVE_RETENTION_DAYS": "9",
    }
    names = ("gateway", "gateway", "matcher", "deliver")
    async with run_stack(kafka, postgres, migrated_template, *names, **settings) as running:
        yield running


async def test_what_is_counted_in_rows(stack: Stack) -> None:
    """Members, applications and event types: one too many is refused, and fits again when one has gone."""
    space, first, second = (
        await stack.api.make_space(TYPE, OTHER),
        await make_person(stack.api),
        await make_person(stack.api),
    )
    members = f"/organizations/{space.organization_id}/invite"

    async def invite(email: str) -> Any:
        return await stack.api.call("POST", members, {"email": email, "role": "viewer"})

    assert 200 == (await invite(first.email)).status
    assert (429, "TooManyMembersPerOrganization") == (await invite(second.email)).problem
    await stack.api.call("DELETE", members, {"user_id": first.user_id})
    assert 200 == (await invite(second.email)).status

    application = {"organization_id": space.organization_id, "name": "More"}
    made = await stack.api.call("POST", "/applications", application)
    assert 201 == made.status
    assert (429, "TooManyApplicationsPerOrganization") == (
        await stack.api.call("POST", "/applications", application)
    ).problem

    third = describe_type(space.application_id, "a.b.c")
    assert (429, "TooManyEventTypesPerApplication") == (await stack.api.call("POST", "/event_types", third)).problem
    assert 201 == (await stack.api.call("POST", "/event_types", describe_type(space.application_id, TYPE))).status
    await stack.api.call("DELETE", f"/event_types/{OTHER}?application_id={space.application_id}")
    assert 201 == (await stack.api.call("POST", "/event_types", third)).status


async def test_the_limits_are_shown(stack: Stack) -> None:
    """Where Hook0 shows them: of the instance, an organization, an application."""
    space = await stack.api.make_space()
    instance = (await stack.api.call("GET", "/instance")).json
    quotas = (await stack.api.call("GET", "/quotas")).json
    organization = (await stack.api.call("GET", f"/organizations/{space.organization_id}")).json
    application = (await stack.api.call("GET", f"/applications/{space.application_id}")).json

    assert instance["quota_enforcement"]
    assert {
        "enabled": True,
        "limits": {
            "global_members_per_organization_limit": 1,
            "global_applications_per_organization_limit": 2,
            "global_events_per_day_limit": DAILY,
            "global_days_of_events_retention_limit": 9,
            "global_subscriptions_per_application_limit": 7,
            "global_event_types_per_application_limit": 2,
        },
    } == quotas
    assert (1, 2, DAILY, 9) == (
        organization["quotas"]["members_per_organization_limit"],
        organization["quotas"]["applications_per_organization_limit"],
        organization["quotas"]["events_per_day_limit"],
        organization["quotas"]["days_of_events_retention_limit"],
    )
    assert {"events_per_day_limit": DAILY, "days_of_events_retention_limit": 9} == application["quotas"]


async def send(stack: Stack, space: Space, gateway: int = 0, **members: Any) -> tuple[int, str]:
    body = describe_event(space.application_id, TYPE, **members)
    reply = await stack.apis[gateway].call("POST", "/event", body, token=space.secret)
    return (201, "") if reply.status == 201 else reply.problem


async def test_events_of_a_day(stack: Stack) -> None:
    """Exactly so many at one gateway; another knows within a moment. Owners hear of 80 and of 100 percent, once."""
    space, neighbour = await stack.api.make_space(TYPE), await stack.api.make_space(TYPE)
    async with Receiver() as receiver:
        await stack.api.subscribe(
            space, receiver.url("/told"), QUOTA_NEAR, QUOTA_REACHED, labels={"hookline": "operational"}
        )
        accepted = [await send(stack, space) for _ in range(DAILY)]
        refused = [await send(stack, space), await send(stack, space, labels={})]

        async def ask_other() -> bool:
            return await send(stack, space, 1) == (429, "TooManyEventsToday")

        await eventually(ask_other)
        told = await eventually(lambda: [r for r in receiver.requests() if len(receiver.requests()) >= 2])

        assert [(201, "")] * DAILY == accepted
        assert [(429, "TooManyEventsToday"), (422, "Validation")] == refused
        assert (201, "") == await send(stack, neighbour)
        assert {QUOTA_NEAR, QUOTA_REACHED} == {request.header("X-Event-Type") for request in told}
        assert {80, 100} == {json.loads(request.body)["percent"] for request in told}


async def test_a_batch_fills_what_is_left(stack: Stack) -> None:
    """The first ones that fit are accepted, the others are told so each; a repeated one is no new one."""
    space = await stack.api.make_space(TYPE)
    events = [describe_event(space.application_id, TYPE) for _ in range(DAILY + 2)]
    body = {"application_id": space.application_id, "events": events}
    reply = await stack.api.call("POST", "/events", body, token=space.secret)
    again = await stack.api.call("POST", "/events", body, token=space.secret)

    assert [201] * DAILY + [429] * 2 == [result["status"] for result in reply.json["results"]]
    assert "TooManyEventsToday" == reply.json["results"][-1]["problem"]["id"]
    assert [409] * DAILY + [429] * 2 == [result["status"] for result in again.json["results"]]


async def test_an_organization_can_have_its_own(stack: Stack) -> None:
    """More or less than the instance allows, of rows and of events a day; taken back, the instance's apply."""
    space = await stack.api.make_space(TYPE, OTHER)
    path = f"/organizations/{space.organization_id}/quotas"
    assert dict.fromkeys(QUOTAS) == (await stack.api.call("GET", path)).json
    assert (403, "Forbidden") == (await stack.api.call("PUT", path, {}, token=space.secret)).problem
    wanted = {"applications_per_organization": 3, "event_types_per_application": 3, "events_per_day": 3}
    changed = await stack.api.call("PUT", path, wanted)
    assert (200, {"members_per_organization": None} | wanted) == (changed.status, changed.json)

    application = {"organization_id": space.organization_id, "name": "More"}
    made = [(await stack.api.call("POST", "/applications", application)).status for _ in range(3)]
    assert [201, 201, 429] == made
    third = describe_type(space.application_id, "a.b.c")
    assert 201 == (await stack.api.call("POST", "/event_types", third)).status
    assert [(201, "")] * 3 == [await send(stack, space) for _ in range(3)]
    assert (429, "TooManyEventsToday") == await send(stack, space)
    shown = (await stack.api.call("GET", f"/applications/{space.application_id}")).json
    assert 3 == shown["quotas"]["events_per_day_limit"]
    assert 200 == (await stack.api.call("PUT", path, {})).status

    async def is_taken() -> bool:
        return await send(stack, space) == (201, "")

    await eventually(is_taken)
    refused = await stack.api.call("PUT", path, {"events_per_day": 0})
    assert (400, "JsonPayload") == refused.problem
    nowhere = f"/organizations/{uuid4()}/quotas"
    assert (403, "Forbidden") == (await stack.api.call("PUT", nowhere, {})).problem
    assert (403, "Forbidden") == (await stack.api.call("GET", nowhere)).problem
