"""Service tokens act within one organization, at every gateway, until they are revoked."""

from uuid import uuid4

import pytest

from tests.support.api import describe_event
from tests.support.eventually import eventually
from tests.support.stack import Stack

pytestmark = pytest.mark.asyncio(loop_scope="package")

TYPE = "billing.invoice.paid"


async def make_token(stack: Stack, organization_id: str, name: str = "ci") -> dict[str, str]:
    """A service token of an organization."""
    reply = await stack.api.call("POST", "/service_token", {"organization_id": organization_id, "name": name})
    assert reply.status == 201, reply.text
    token: dict[str, str] = reply.json
    return token


async def test_the_life_of_a_service_token(stack: Stack) -> None:
    """A token is made, shown, renamed, works at any gateway at once, and fails within a second of being revoked."""
    first, second = stack.apis
    space = await first.make_space(TYPE)
    token = await make_token(stack, space.organization_id)
    biscuit, query = token["biscuit"], f"?organization_id={space.organization_id}"
    path = f"/service_token/{token['token_id']}"
    accepted = await second.call("POST", "/event", describe_event(space.application_id, TYPE), token=biscuit)
    shown = await second.call("GET", path + query)
    renamed = await first.call("PUT", path, {"organization_id": space.organization_id, "name": "deploy"})
    listed = await second.call("GET", f"/service_token{query}", token=biscuit)
    revoked = await first.call("DELETE", path + query)
    refused = await first.call("POST", "/event", describe_event(space.application_id, TYPE), token=biscuit)

    assert 201 == accepted.status
    assert token == shown.json
    assert token | {"name": "deploy"} == renamed.json
    assert [renamed.json] == listed.json
    assert 204 == revoked.status
    assert (403, "AuthInvalidBiscuit") == refused.problem
    assert (404, "NotFound") == (await first.call("GET", path + query)).problem

    async def is_refused_elsewhere() -> bool:
        reply = await second.call("POST", "/event", describe_event(space.application_id, TYPE), token=biscuit)
        return reply.status == 403

    await eventually(is_refused_elsewhere)


async def test_it_does_what_its_organization_may(stack: Stack) -> None:
    """Applications are made, listed and read with it; the organization is shown as its only one."""
    space = await stack.api.make_space(TYPE)
    biscuit = (await make_token(stack, space.organization_id))["biscuit"]
    made = await stack.api.call(
        "POST", "/applications", {"organization_id": space.organization_id, "name": "Second"}, token=biscuit
    )
    listed = await stack.api.call("GET", f"/applications?organization_id={space.organization_id}", token=biscuit)
    organizations = await stack.api.call("GET", "/organizations", token=biscuit)
    shown = await stack.api.call("GET", f"/organizations/{space.organization_id}", token=biscuit)

    assert 201 == made.status
    assert [space.application_id, made.json["application_id"]] == [found["application_id"] for found in listed.json]
    assert [space.organization_id] == [found["organization_id"] for found in organizations.json]
    assert {"application": "Done", "event_type": "Done", "subscription": "ToDo", "event": "ToDo"} == (
        shown.json["onboarding_steps"]
    )
    assert {"members": 0, "applications": 2, "events_per_day": 0} == shown.json["consumption"]


async def test_it_reaches_nothing_of_another_organization(stack: Stack) -> None:
    """Objects of another organization are answered like objects that do not exist."""
    own, other = await stack.api.make_space(TYPE), await stack.api.make_space(TYPE)
    biscuit = (await make_token(stack, own.organization_id))["biscuit"]
    foreign = await make_token(stack, other.organization_id)
    for organization_id, application_id in (
        (other.organization_id, other.application_id),
        (str(uuid4()), str(uuid4())),
    ):
        query = f"?organization_id={organization_id}"
        replies = [
            await stack.api.call("POST", "/event", describe_event(application_id, TYPE), token=biscuit),
            await stack.api.call("GET", f"/events?application_id={application_id}", token=biscuit),
            await stack.api.call("GET", f"/applications/{application_id}", token=biscuit),
            await stack.api.call("DELETE", f"/applications/{application_id}", token=biscuit),
            await stack.api.call("GET", f"/applications{query}", token=biscuit),
            await stack.api.call(
                "POST", "/applications", {"organization_id": organization_id, "name": "Mine"}, token=biscuit
            ),
            await stack.api.call("GET", f"/organizations/{organization_id}", token=biscuit),
            await stack.api.call("DELETE", f"/organizations/{organization_id}", token=biscuit),
            await stack.api.call("GET", f"/service_token{query}", token=biscuit),
            await stack.api.call("GET", f"/service_token/{foreign['token_id']}{query}", token=biscuit),
            await stack.api.call("DELETE", f"/service_token/{foreign['token_id']}{query}", token=biscuit),
            await stack.api.call("GET", f"/events_per_day/organization{query}", token=biscuit),
            await stack.api.call("GET", f"/events_per_day/application?application_id={application_id}", token=biscuit),
        ]

        assert {(403, "Forbidden")} == {reply.problem for reply in replies}
    elsewhere = f"/service_token/{foreign['token_id']}?organization_id={own.organization_id}"
    assert (404, "NotFound") == (await stack.api.call("DELETE", elsewhere, token=biscuit)).problem
    assert (403, "Forbidden") == (
        await stack.api.call("POST", "/organizations", {"name": "Mine"}, token=biscuit)
    ).problem


async def test_an_application_secret_cannot_make_one(stack: Stack) -> None:
    """An application's secret acts within its application only."""
    space = await stack.api.make_space()
    body = {"organization_id": space.organization_id, "name": "more"}

    assert (403, "Forbidden") == (await stack.api.call("POST", "/service_token", body, token=space.secret)).problem


async def test_a_name_is_checked(stack: Stack) -> None:
    """The rules of every other name apply."""
    space = await stack.api.make_space()
    body = {"organization_id": space.organization_id, "name": "n" * 51}

    assert (422, "Validation") == (await stack.api.call("POST", "/service_token", body)).problem
