"""Two people change one thing: the second one hears of it."""

from typing import Any

import pytest

from tests.support.api import Space, describe_subscription, describe_type
from tests.support.stack import MASTER_KEY, Stack

pytestmark = pytest.mark.asyncio(loop_scope="package")

TYPE = "billing.invoice.paid"


async def test_what_was_changed_meanwhile_is_not_replaced(stack: Stack) -> None:
    """A `PUT` with the present `ETag` replaces; one with an older one does not (RFC 9110 §13.1.1)."""
    space = await stack.api.make_space(TYPE)
    made = await stack.api.subscribe(space, "http://example.com/", TYPE)
    path = f"/subscriptions/{made['subscription_id']}"
    tag = (await stack.api.call("GET", path)).headers["Etag"]

    async def replace(description: str, if_match: str | None) -> tuple[int, str | None]:
        headers = {"Authorization": f"Bearer {MASTER_KEY}", "Content-Type": "application/json"}
        body = describe_subscription(space.application_id, "http://example.com/", TYPE, description=description)
        reply = await stack.api.call(
            "PUT", path, body, headers=headers | ({"If-Match": if_match} if if_match is not None else {})
        )
        if reply.status == 412:
            assert (412, "PreconditionFailed") == reply.problem
        return reply.status, reply.headers.get("Etag")

    first = await replace("first", tag)
    second = await replace("second", tag)
    odd = await replace("odd", 'W/"1"')
    third = await replace("third", first[1])
    shown = await stack.api.call("GET", path)

    assert [200, 412, 412, 200] == [each[0] for each in (first, second, odd, third)]
    assert ("third", third[1]) == (shown.json["description"], shown.headers["Etag"])
    assert 200 == (await replace("any", "*"))[0] == (await replace("any", None))[0]


async def list_changeable(
    stack: Stack, space: Space
) -> dict[str, tuple[str, dict[str, Any], tuple[dict[str, Any], ...]]]:
    """Changeable things by kind: where it is shown, its whole body, and what two people change of it."""
    application, organization = {"application_id": space.application_id}, {"organization_id": space.organization_id}
    token = (await stack.api.call("POST", "/service_token", organization | {"name": "ci"})).json
    schedule = application | {"name": "slow", "retry_delays_s": [60]}
    made = (await stack.api.call("POST", "/retry_schedules", schedule)).json
    names = ({"name": "first"}, {"name": "second"})
    of_application = f"?application_id={space.application_id}"
    return {
        "application": (f"/applications/{space.application_id}", organization, names),
        "organization": (f"/organizations/{space.organization_id}", {}, names),
        "quotas": (
            f"/organizations/{space.organization_id}/quotas",
            {"members_per_organization": 7},
            ({"events_per_day": 5_000}, {"events_per_day": 6_000}),
        ),
        "event type": (f"/event_types/{TYPE}{of_application}", application, ({"example": "1"}, {"example": "2"})),
        "service token": (
            f"/service_token/{token['token_id']}?organization_id={space.organization_id}",
            organization | {"name": "ci"},
            ({"scopes": ["events:read"]}, {"application_ids": [space.application_id]}),
        ),
        "retry schedule": (
            f"/retry_schedules/{made['retry_schedule_id']}{of_application}",
            schedule,
            ({"retry_delays_s": [1, 2]}, {"name": "other"}),
        ),
    }


async def test_everything_that_is_replaced_has_a_tag(stack: Stack) -> None:
    """A change with the tag it has is made, one with an older tag is not, and the answer has the new tag."""
    space = await stack.api.make_space(TYPE)
    for what, (path, whole, (first, second)) in (await list_changeable(stack, space)).items():
        old = (await stack.api.call("GET", path)).headers["Etag"]

        async def change(
            members: dict[str, Any], tag: str, *, to: str = path, body: Any = whole
        ) -> tuple[int, str | None]:
            headers = {"Authorization": f"Bearer {MASTER_KEY}", "Content-Type": "application/json", "If-Match": tag}
            reply = await stack.api.call("PUT", to.partition("?")[0], body | members, headers=headers)
            assert reply.status == 200 or (412, "PreconditionFailed") == reply.problem, reply.text
            return reply.status, reply.headers.get("Etag")

        status, new = await change(first, old)
        assert (200, True) == (status, new is not None and new != old), what
        assert (412, None) == await change(second, old), what
        shown = await stack.api.call("GET", path)
        assert new == shown.headers["Etag"], what
        assert first == {name: shown.json[name] for name in first}, what
        assert 412 == (await change(second, 'W/"1"'))[0], what
        assert 200 == (await change(second, f'"0", {new}'))[0], what
        assert 200 == (await change(first, "*"))[0], what


async def test_a_tag_is_of_what_can_be_changed(stack: Stack) -> None:
    """A change within an application leaves its tag as it is."""
    space = await stack.api.make_space()
    path = f"/applications/{space.application_id}"
    before = await stack.api.call("GET", path)
    await stack.api.call("POST", "/event_types", describe_type(space.application_id, TYPE))
    after = await stack.api.call("GET", path)

    assert before.headers["Etag"] == after.headers["Etag"]
    assert before.json["onboarding_steps"] != after.json["onboarding_steps"]
