"""How many events came in, by day: of an application, and of all of an organization."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.eventually import eventually
from tests.support.stack import Stack

pytestmark = pytest.mark.asyncio(loop_scope="package")

TYPE = "billing.invoice.paid"


async def test_events_are_counted_by_day(stack: Stack) -> None:
    """Today's count is provisional; it is the consumption of the application and of the organization."""
    space = await stack.api.make_space(TYPE)
    for _ in range(3):
        await stack.api.send(space, TYPE)
    application = f"/events_per_day/application?application_id={space.application_id}"
    organization = f"/events_per_day/organization?organization_id={space.organization_id}"

    async def list_counts() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await stack.api.call("GET", application, token=space.secret)).json
        return found if sum(count["amount"] for count in found) == 3 else []

    counts = await eventually(list_counts)
    of_organization = await stack.api.call("GET", organization)
    shown = await stack.api.call("GET", f"/applications/{space.application_id}")
    owner = await stack.api.call("GET", f"/organizations/{space.organization_id}")
    today = datetime.now(UTC).date()

    for count in counts:
        assert {space.application_id} == {count["application_id"]}
        assert "Shop" == count["application_name"]
        assert (count["date"] == today.isoformat()) == count["is_provisional"]
    assert counts == of_organization.json
    assert (
        sum(count["amount"] for count in counts if count["is_provisional"])
        == (shown.json["consumption"]["events_per_day"])
    )
    assert shown.json["consumption"]["events_per_day"] == owner.json["consumption"]["events_per_day"]
    assert "Done" == owner.json["onboarding_steps"]["event"]


async def test_the_range_of_days(stack: Stack) -> None:
    """Days before and after are left out; an empty range and what is no date are refused."""
    space = await stack.api.make_space(TYPE)
    path = f"/events_per_day/application?application_id={space.application_id}"
    long_ago = (datetime.now(UTC) - timedelta(days=400)).date()

    assert [] == (await stack.api.call("GET", f"{path}&from={long_ago}&to={long_ago}")).json
    assert (400, "InvalidDateRange") == (await stack.api.call("GET", f"{path}&from=2026-02-02&to=2026-02-01")).problem
    assert 400 == (await stack.api.call("GET", f"{path}&from=yesterday")).status


async def test_the_ends_of_the_calendar(stack: Stack) -> None:
    """Reads by days answer for the first and the last day there is, with one end or both."""
    space = await stack.api.make_space(TYPE)
    first, last = "0001-01-01", "9999-12-31"
    for path in ("/events_per_day/application", "/events/export", "/request_attempts/export"):
        for days in ({"to": first}, {"from": first, "to": first}, {"from": last, "to": last}):
            query = {"application_id": space.application_id} | days
            reply = await stack.api.call("GET", path, token=space.secret, query=query)

            assert (200, b"") == (reply.status, reply.body.removeprefix(b"[]")), (path, days)
