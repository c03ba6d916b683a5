"""Retry schedules: named delays that subscriptions refer to."""

from functools import partial
from typing import Any
from uuid import uuid4

import pytest

from tests.support.api import Reply, Space, describe_subscription
from tests.support.eventually import eventually
from tests.support.receiver import Receiver, Status
from tests.support.stack import Stack

pytestmark = pytest.mark.asyncio(loop_scope="package")

TYPE = "billing.invoice.paid"
SCHEDULES_MAX = 100


async def make_schedule(stack: Stack, space: Space, *delays_s: float, name: str = "quick") -> dict[str, Any]:
    """A schedule of the application."""
    body = {"application_id": space.application_id, "name": name, "retry_delays_s": delays_s}
    reply = await stack.api.call("POST", "/retry_schedules", body, token=space.secret)
    assert 201 == reply.status, reply.text
    schedule: dict[str, Any] = reply.json
    return schedule


async def delete(stack: Stack, space: Space, schedule: dict[str, Any]) -> Reply:
    """The answer to its deletion."""
    path = f"/retry_schedules/{schedule['retry_schedule_id']}?application_id={space.application_id}"
    return await stack.api.call("DELETE", path, token=space.secret)


async def count_outcome(stack: Stack, space: Space) -> tuple[str, int]:
    """State and attempts of an event that is sent now, once it has been given up."""
    event_id = await stack.api.send(space, TYPE)

    async def find() -> tuple[str, int]:
        path = f"/deliveries?application_id={space.application_id}&event_id={event_id}"
        deliveries = (await stack.api.call("GET", path)).json
        assert ["dead"] == [each["state"]["type"] for each in deliveries]
        (delivery,) = deliveries
        return delivery["state"]["reason"], delivery["attempts"]

    return await eventually(find, timeout_s=60)


async def test_deliveries_follow_the_schedule_of_their_subscription(stack: Stack) -> None:
    """The schedule's delays are the subscription's; the event after a change of the schedule follows the new ones."""
    space = await stack.api.make_space(TYPE)
    schedule = await make_schedule(stack, space)
    schedule_id = schedule["retry_schedule_id"]
    async with Receiver() as receiver:
        receiver.script("/a", *[Status(500)] * 50)
        made = await stack.api.subscribe(space, receiver.url("/a"), TYPE, retry_schedule_id=schedule_id)
        none = await count_outcome(stack, space)
        body = {"application_id": space.application_id, "name": "two", "retry_delays_s": [0.1, 0.1]}
        changed = await stack.api.call("PUT", f"/retry_schedules/{schedule_id}", body, token=space.secret)
        two = await count_outcome(stack, space)
        shown = await stack.api.call("GET", f"/subscriptions/{made['subscription_id']}")
        own = describe_subscription(space.application_id, receiver.url("/a"), TYPE, delivery={"retry_delays_s": [0.1]})
        await stack.api.call("PUT", f"/subscriptions/{made['subscription_id']}", own)
        one = await count_outcome(stack, space)

    assert ("two", [0.1, 0.1]) == (changed.json["name"], changed.json["retry_delays_s"])
    assert (schedule_id, None) == (shown.json["retry_schedule_id"], shown.json["delivery"]["retry_delays_s"])
    assert [("exhausted", 1), ("exhausted", 3), ("exhausted", 2)] == [none, two, one]


async def test_a_schedule_that_is_used_stays(stack: Stack) -> None:
    """A schedule is deleted when no subscription refers to it any more, and is gone then."""
    space = await stack.api.make_space(TYPE)
    schedule, other = await make_schedule(stack, space, 1), await make_schedule(stack, space, 2)
    refer = partial(describe_subscription, space.application_id, "http://example.com/", TYPE)
    first, second = [
        await stack.api.subscribe(space, "http://example.com/", TYPE, retry_schedule_id=schedule["retry_schedule_id"])
        for _ in range(2)
    ]
    used = await delete(stack, space, schedule)
    await stack.api.call(
        "PUT",
        f"/subscriptions/{first['subscription_id']}",
        refer(retry_schedule_id=other["retry_schedule_id"]),
    )
    path = f"/subscriptions/{second['subscription_id']}?application_id={space.application_id}"
    await stack.api.call("DELETE", path)
    deleted, again = await delete(stack, space, schedule), await delete(stack, space, schedule)
    listed = await stack.api.call("GET", f"/retry_schedules?application_id={space.application_id}", token=space.secret)

    assert (409, "RetryScheduleInUse") == used.problem
    assert "2" in used.json["detail"]
    assert 204 == deleted.status
    assert (404, "NotFound") == again.problem
    assert [other] == listed.json


async def test_what_a_schedule_can_be(stack: Stack) -> None:
    """Name and delays have bounds, and an application a number of schedules."""
    space = await stack.api.make_space(TYPE)
    body = {"application_id": space.application_id, "name": "n", "retry_delays_s": [0, 604_800]}
    wrong = []
    for members in (
        {"name": ""},
        {"name": "n" * 51},
        {"name": "a\nb"},
        {"retry_delays_s": [-1]},
        {"retry_delays_s": [604_801]},
        {"retry_delays_s": [1] * 51},
    ):
        reply = await stack.api.call("POST", "/retry_schedules", body | members, token=space.secret)
        (field,) = members
        wrong.append((reply.problem, [each["code"] for each in reply.json["validation"][field]]))
    made = [await make_schedule(stack, space, name=f"n{number}") for number in range(SCHEDULES_MAX)]
    one_more = await stack.api.call("POST", "/retry_schedules", body, token=space.secret)
    listed = await stack.api.call("GET", f"/retry_schedules?application_id={space.application_id}")

    codes = ("length", "length", "non_control_character", "retry-delays", "retry-delays", "retry-delays")
    assert [((422, "Validation"), [code]) for code in codes] == wrong
    assert (429, "TooManyRetrySchedulesPerApplication") == one_more.problem
    assert made == listed.json


async def test_a_subscription_refers_to_schedules_of_its_application(stack: Stack) -> None:
    """Another application's schedule, one that does not exist, and one beside delays of its own are refused."""
    space, other = await stack.api.make_space(TYPE), await stack.api.make_space(TYPE)
    own, foreign = await make_schedule(stack, space, 1), await make_schedule(stack, other, 1)
    refused = []
    for schedule_id, delivery in (
        (str(uuid4()), None),
        (foreign["retry_schedule_id"], None),
        (own["retry_schedule_id"], {"retry_delays_s": [1]}),
    ):
        members = {"retry_schedule_id": schedule_id, "delivery": delivery}
        body = describe_subscription(space.application_id, "http://example.com/", TYPE, **members)
        reply = await stack.api.call("POST", "/subscriptions", body, token=space.secret)
        refused.append((reply.problem, [each["code"] for each in reply.json["validation"]["retry_schedule_id"]]))
    path = f"/retry_schedules/{foreign['retry_schedule_id']}"
    asked = await stack.api.call("GET", f"{path}?application_id={space.application_id}", token=space.secret)
    trail = await stack.api.call("GET", f"/audit_log?application_id={space.application_id}&resource=retry_schedule")

    assert [((422, "Validation"), ["retry-schedule"])] * 3 == refused
    assert (404, "NotFound") == asked.problem
    assert [("created", own["retry_schedule_id"])] == [(each["action"], each["resource_id"]) for each in trail.json]
