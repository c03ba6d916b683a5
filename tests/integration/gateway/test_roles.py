"""Rights of an organization's members, and of limited service tokens: on two real gateways."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hook0.generated import models

from tests.support.api import Api, Reply, Space, describe_event, describe_type
from tests.support.eventually import eventually
from tests.support.people import Person, make_person, new_email
from tests.support.stack import Stack

pytestmark = pytest.mark.asyncio(loop_scope="package")

TYPE = "billing.invoice.paid"
FORBIDDEN = (403, "Forbidden")


async def invite(stack: Stack, space: Space, person: Person, role: str) -> Reply:
    path = f"/organizations/{space.organization_id}/invite"
    return await stack.api.call("POST", path, {"email": person.email, "role": role})


async def try_all(api: Api, space: Space, token: str) -> dict[str, bool]:
    """Which of these a token may do, each against an application."""
    of_application = f"?application_id={space.application_id}"
    asked: dict[str, tuple[str, str, Any]] = {
        "read events": ("GET", f"/events{of_application}", None),
        "read subscriptions": ("GET", f"/subscriptions{of_application}", None),
        "read secrets": ("GET", f"/application_secrets{of_application}", None),
        "read tokens": ("GET", f"/service_token?organization_id={space.organization_id}", None),
        "send": ("POST", "/event", describe_event(space.application_id, TYPE)),
        "make a type": ("POST", "/event_types", describe_type(space.application_id, "a.b.c")),
        "list applications": ("GET", f"/applications?organization_id={space.organization_id}", None),
        "rename": ("PUT", f"/organizations/{space.organization_id}", {"name": "Acme"}),
        "invite": (
            "POST",
            f"/organizations/{space.organization_id}/invite",
            {"email": new_email(), "role": "viewer"},
        ),
    }
    found = {}
    for name, (method, path, body) in asked.items():
        reply = await api.call(method, path, body, token=token)
        assert reply.status < 500, reply.text
        # the invited user does not exist: that is found out by who may ask only
        found[name] = reply.status != 403
    return found


async def test_what_viewers_and_editors_may(stack: Stack) -> None:
    """A viewer sees everything but secrets and changes nothing; an editor may do everything in the organization."""
    space, person = await stack.api.make_space(TYPE), await make_person(stack.api)
    made = await stack.api.subscribe(
        space,
        "http://example.com/",
        TYPE,
        target={
            "type": "http",
            "method": "POST",
            "url": "http://example.com/",
            "headers": {"Authorization": "Basic cGFz"},
        },
    )
    before = await try_all(stack.api, space, person.access)
    invited = await invite(stack, space, person, "viewer")
    # the other gateway knew a moment ago that it is no member
    as_viewer = await try_all(stack.apis[1], space, person.access)
    (shown,) = (
        await stack.api.call("GET", f"/subscriptions?application_id={space.application_id}", token=person.access)
    ).json
    alone = await stack.api.call("GET", f"/subscriptions/{made['subscription_id']}", token=person.access)
    path = f"/organizations/{space.organization_id}/invite"
    raised = await stack.api.call("PUT", path, {"user_id": person.user_id, "role": "editor"})
    as_editor = await try_all(stack.apis[1], space, person.access)

    assert set(before.values()) == {False}
    assert (200, {"email": person.email, "role": "viewer"}) == (invited.status, invited.json)
    assert {"read events", "read subscriptions", "list applications"} == {
        name for name, may in as_viewer.items() if may
    }
    for answer in (shown, alone.json):
        assert made["secret"] != answer["secret"]
        assert answer["standard_webhooks_secret"] is None
        assert "cGFz" not in str(answer)
    assert (200, {"user_id": person.user_id, "role": "editor"}) == (raised.status, raised.json)
    assert set(as_editor.values()) == {True}


async def test_who_is_removed_is_refused_at_every_gateway(stack: Stack) -> None:
    """Removal applies at every gateway within a second, as does becoming a viewer."""
    space, person = await stack.api.make_space(TYPE), await make_person(stack.api)
    await invite(stack, space, person, "editor")
    path = f"/organizations/{space.organization_id}/invite"
    types = f"/event_types?application_id={space.application_id}"

    async def may(method: str) -> bool:
        body = describe_type(space.application_id, "a.b.c") if method == "POST" else None
        reply = await stack.apis[1].call(method, types, body, token=person.access)
        assert reply.status < 300 or reply.problem == FORBIDDEN
        return reply.status < 300

    async def may_not(method: str) -> bool:
        return not await may(method)

    assert await may("POST")
    await stack.api.call("PUT", path, {"user_id": person.user_id, "role": "viewer"})
    await eventually(lambda: may_not("POST"))
    assert await may("GET")
    removed = await stack.api.call("DELETE", path, {"user_id": person.user_id})
    await eventually(lambda: may_not("GET"))
    assert {"user_id": person.user_id} == removed.json
    assert (404, "NotFound") == (await stack.api.call("DELETE", path, {"user_id": person.user_id})).problem


async def test_refused_invitations(stack: Stack) -> None:
    """Each with its problem."""
    space, person = await stack.api.make_space(), await make_person(stack.api)
    await invite(stack, space, person, "viewer")
    path = f"/organizations/{space.organization_id}/invite"

    assert (409, "InvitedUserAlreadyInOrganization") == (await invite(stack, space, person, "editor")).problem
    assert (400, "InvalidRole") == (await invite(stack, space, person, "owner")).problem
    for body, expected in (
        ({"email": new_email(), "role": "viewer"}, (404, "InvitedUserDoesNotExist")),
        ({"email": "noaddress", "role": "viewer"}, (422, "Validation")),
    ):
        assert expected == (await stack.api.call("POST", path, body)).problem
    changed = await stack.api.call("PUT", path, {"user_id": person.user_id, "role": "owner"})
    assert (400, "InvalidRole") == changed.problem


async def test_an_organization_with_members_is_what_hook0_clients_read(stack: Stack) -> None:
    """The package's own model takes it whole, members and all, in answers to reading and renaming."""
    space, person = await stack.api.make_space(), await make_person(stack.api)
    await invite(stack, space, person, "viewer")
    path = f"/organizations/{space.organization_id}"
    shown = await stack.api.call("GET", path, token=person.access)
    renamed = await stack.api.call("PUT", path, {"name": "Emca"})

    for reply in (shown, renamed):
        info = models.OrganizationInfo.from_json(reply.json)
        assert [(UUID(person.user_id), "viewer")] == [(user.user_id, user.role) for user in info.users]
    assert "viewer" == shown.json["role"]


async def test_a_user_makes_an_organization(stack: Stack) -> None:
    """The user is its editor from the next request on, also at the other gateway."""
    person = await make_person(stack.api)
    assert 200 == (await stack.apis[1].call("GET", "/organizations", token=person.access)).status
    made = await stack.api.call("POST", "/organizations", {"name": "Mine"}, token=person.access)
    organization_id = made.json["organization_id"]
    application = await stack.apis[1].call(
        "POST", "/applications", {"organization_id": organization_id, "name": "Shop"}, token=person.access
    )
    listed = await stack.apis[1].call("GET", "/organizations", token=person.access)

    assert 200 == made.status
    assert 201 == application.status, application.text
    assert {person.organization_id, organization_id} == {each["organization_id"] for each in listed.json}


async def test_a_service_token_is_limited(stack: Stack) -> None:
    """Scopes, applications and an end limit a token; it can neither lift its limits nor make another token."""
    space = await stack.api.make_space(TYPE)
    other = (
        await stack.api.call("POST", "/applications", {"organization_id": space.organization_id, "name": "Other"})
    ).json["application_id"]
    body = {"organization_id": space.organization_id, "name": "limited"}

    async def make(**limits: Any) -> dict[str, Any]:
        reply = await stack.api.call("POST", "/service_token", body | limits)
        assert reply.status == 201, reply.text
        made: dict[str, Any] = reply.json
        return made

    reader = await make(scopes=["events:read", "subscriptions:read"])
    sender = await make(scopes=["events:ingest"], application_ids=[space.application_id])
    dated = await make(expires_at=(datetime.now(UTC) + timedelta(hours=1)).isoformat())

    def may(found: dict[str, bool]) -> set[str]:
        return {name for name, is_allowed in found.items() if is_allowed}

    assert {"read events", "read subscriptions"} == may(await try_all(stack.api, space, reader["biscuit"]))
    assert {"send"} == may(await try_all(stack.api, space, sender["biscuit"]))
    elsewhere = await stack.api.call("POST", "/event", describe_event(other, TYPE), token=sender["biscuit"])
    assert FORBIDDEN == elsewhere.problem
    assert {"read tokens", "rename", "invite"}.isdisjoint(may(await try_all(stack.api, space, dated["biscuit"])))
    # limits that are left out stay; those that are given are in force at the other gateway within a second
    path = f"/service_token/{reader['token_id']}"
    renamed = await stack.api.call("PUT", path, body | {"name": "new"})
    assert ("new", ["events:read", "subscriptions:read"]) == (renamed.json["name"], renamed.json["scopes"])
    await stack.api.call("PUT", path, body | {"expires_at": "2026-01-01T00:00:00Z"})

    async def ask() -> tuple[int, str]:
        reply = await stack.apis[1].call("GET", "/organizations", token=reader["biscuit"])
        return reply.problem if reply.status != 200 else (200, "")

    async def is_refused() -> bool:
        return await ask() == (403, "AuthInvalidBiscuit")

    await eventually(is_refused)


@pytest.mark.parametrize(
    "limits",
    [
        {"scopes": []},
        {"scopes": ["everything"]},
        {"scopes": ["service_token:write"]},
        {"application_ids": []},
        {"expires_at": "0000-01-01T00:00:00Z"},
    ],
)
async def test_refused_limits(stack: Stack, limits: dict[str, Any]) -> None:
    """A scope that does not exist would be a token that does nothing, or what was not meant."""
    space = await stack.api.make_space()
    body = {"organization_id": space.organization_id, "name": "limited"} | limits

    assert (422, "Validation") == (await stack.api.call("POST", "/service_token", body)).problem
