"""Deliveries as the API shows them: each state, pages both ways, search, payloads, test events and health."""

from functools import partial
from typing import Any
from uuid import uuid4

import pytest

from tests.support.api import Reply, Space, describe_subscription, find_link
from tests.support.eventually import eventually
from tests.support.receiver import Hang, Receiver, Status
from tests.support.stack import Stack
from tests.support.verification import verify_delivery

pytestmark = pytest.mark.asyncio(loop_scope="package")

TYPE = "billing.invoice.paid"


async def get(stack: Stack, space: Space, path: str, **query: str) -> Reply:
    """Read the deliveries that the application is shown."""
    members = {"application_id": space.application_id} | query
    return await stack.api.call("GET", path, token=space.secret, query=members)


async def wait_for_state(stack: Stack, space: Space, subscription: dict[str, Any], state: str) -> dict[str, Any]:
    """The subscription's only delivery, once it is in this state."""

    async def find() -> dict[str, Any]:
        reply = await get(stack, space, "/deliveries", subscription_id=subscription["subscription_id"])
        assert 1 == len(reply.json)
        (delivery,) = reply.json
        assert state == delivery["state"]["type"]
        found: dict[str, Any] = delivery
        return found

    return await eventually(find, timeout_s=60)


def has_requests(receiver: Receiver, count: int) -> bool:
    """Has the request come so often?"""
    return len(receiver.requests("/a")) == count


def list_ids(items: list[dict[str, Any]]) -> list[str]:
    """List the ids on a page: the first member of each item."""
    return [str(next(iter(item.values()))) for item in items]


async def test_a_request_that_takes_long_is_in_progress(stack: Stack) -> None:
    """The request is shown after a second, under Hook0's name for it, then with its outcome; its status finds it."""
    space = await stack.api.make_space(TYPE)
    async with Receiver() as receiver:
        receiver.script("/slow", Hang())
        settings = {"retry_delays_s": [], "total_timeout_s": 60}
        await stack.api.subscribe(space, receiver.url("/slow"), TYPE, delivery=settings)
        event_id = await stack.api.send(space, TYPE)

        async def is_in_progress() -> dict[str, Any]:
            attempts = await stack.api.list_attempts(space, event_id)
            assert ["in_progress"] == [each["status"]["type"] for each in attempts]
            found: dict[str, Any] = attempts[0]
            return found

        attempt = await eventually(is_in_progress)
        found = {
            status: list_ids((await get(stack, space, "/request_attempts", status=status)).json)
            for status in ("in_progress", "waiting,pending", "failed,in_progress")
        }
        refused = await get(stack, space, "/request_attempts", status="slow")

    async def has_failed() -> bool:
        attempts = await stack.api.list_attempts(space, event_id)
        assert [("failed", attempt["picked_at"])] == [(each["status"]["type"], each["picked_at"]) for each in attempts]
        return True

    await eventually(has_failed)
    attempt_id = attempt["request_attempt_id"]
    assert attempt["picked_at"] == attempt["status"]["since"]
    assert (None, None, None) == (attempt["failed_at"], attempt["succeeded_at"], attempt["response_id"])
    assert {"in_progress": [attempt_id], "waiting,pending": [], "failed,in_progress": [attempt_id]} == found
    assert (400, "InvalidQuery") == (refused.status, refused.json["id"])


async def test_each_state(stack: Stack) -> None:
    """Delivered, dead, waiting for a retry, cancelled; each is found by its state and by its id."""
    space = await stack.api.make_space(TYPE)
    async with Receiver() as receiver:
        for name in ("/dead", "/waiting", "/cancelled"):
            receiver.script(name, *[Status(500)] * 3)
        made = {
            "delivered": await stack.api.subscribe(space, receiver.url("/delivered"), TYPE),
            "dead": await stack.api.subscribe(space, receiver.url("/dead"), TYPE, delivery={"retry_delays_s": []}),
            "waiting": await stack.api.subscribe(
                space, receiver.url("/waiting"), TYPE, delivery={"retry_delays_s": [600]}
            ),
            "cancelled": await stack.api.subscribe(
                space, receiver.url("/cancelled"), TYPE, delivery={"retry_delays_s": [600]}
            ),
        }
        event_id = await stack.api.send(space, TYPE)
        await eventually(lambda: [1] * 4 == [len(receiver.requests(f"/{name}")) for name in made])
        await wait_for_state(stack, space, made["cancelled"], "waiting")
        body = describe_subscription(space.application_id, receiver.url("/cancelled"), TYPE, is_enabled=False)
        await stack.api.call("PUT", f"/subscriptions/{made['cancelled']['subscription_id']}", body)
        found = {name: await wait_for_state(stack, space, each, name) for name, each in made.items()}
        webhook_ids = {name: receiver.requests(f"/{name}")[0].header("webhook-id") for name in made}

    assert {name: delivery["delivery_id"] for name, delivery in found.items()} == webhook_ids
    assert {event_id} == {delivery["event_id"] for delivery in found.values()}
    assert {1} == {delivery["attempts"] for delivery in found.values()}
    assert "exhausted" == found["dead"]["state"]["reason"]
    assert ("E_HTTP", 500) == (
        found["dead"]["last_error"]["name"],
        found["dead"]["last_error"]["http_response_status"],
    )
    assert found["waiting"]["state"]["until"] > found["waiting"]["state"]["since"]
    assert found["delivered"]["last_error"] is None
    for name, delivery in found.items():
        by_state = await get(stack, space, "/deliveries", state=name, event_id=event_id)
        by_id = await get(stack, space, f"/deliveries/{delivery['delivery_id']}")
        searched = await get(stack, space, "/search", q=webhook_ids[name].upper())

        assert [delivery] == by_state.json
        assert delivery == by_id.json
        assert ["delivery"] == [each["type"] for each in searched.json]
        assert 200 == (await stack.api.call("GET", searched.json[0]["path"], token=space.secret)).status


async def test_pages_neither_repeat_nor_skip(stack: Stack) -> None:
    """Forward over all of them while others come, and back again to the newest."""
    space = await stack.api.make_space(TYPE)
    body = {"application_id": space.application_id, "events": []}
    async with Receiver() as receiver:
        await stack.api.subscribe(space, receiver.url("/a"), TYPE)

        async def send(count: int) -> None:
            members = {
                "event_type": TYPE,
                "payload": "{}",
                "payload_content_type": "application/json",
                "occurred_at": "2026-01-02T03:04:05Z",
                "labels": {"all": "yes"},
            }
            reply = await stack.api.call("POST", "/events", body | {"events": [members] * count}, token=space.secret)
            assert 200 == reply.status
            await eventually(lambda: len(receiver.requests("/a")) >= sent)

        sent = 110
        await send(110)
        for path in ("/deliveries", "/request_attempts", "/events"):
            page = await get(stack, space, path)
            first, pages = page, [page.json]
            sent += 5
            await send(5)
            while (link := find_link(page, "next")) is not None:
                page = await stack.api.call("GET", link, token=space.secret)
                pages.append(page.json)
            listed = [each for items in pages for each in list_ids(items)]

            assert sent - 5 == len(listed) == len(set(listed)), path
            newer = await stack.api.call("GET", find_link(first, "prev") or "", token=space.secret)

            assert 5 == len(newer.json), path
            assert not set(list_ids(newer.json)) & set(listed)
            back = await stack.api.call("GET", find_link(newer, "next") or "", token=space.secret)

            assert list_ids(first.json) == list_ids(back.json), path


async def test_a_search_finds_whatever_has_the_id(stack: Stack) -> None:
    """An event, an attempt, a subscription; nothing for another id, another application's, or what is no id."""
    space, other = await stack.api.make_space(TYPE), await stack.api.make_space(TYPE)
    async with Receiver() as receiver:
        made = await stack.api.subscribe(space, receiver.url("/a"), TYPE)
        event_id = await stack.api.send(space, TYPE)
        (attempt,) = await stack.api.list_attempts(space, event_id)
        kinds = {
            event_id: ["event"],
            attempt["request_attempt_id"]: ["request_attempt"],
            made["subscription_id"]: ["subscription"],
            str(uuid4()): [],
            "no id": [],
        }
        for wanted, types in kinds.items():
            found = await get(stack, space, "/search", q=wanted)
            hidden = await get(stack, other, "/search", q=wanted)

            assert types == [each["type"] for each in found.json]
            assert [] == hidden.json


async def test_a_payload_is_shown_as_it_is(stack: Stack) -> None:
    """Byte for byte, whole or a range of it (RFC 9110 §14)."""
    space = await stack.api.make_space(TYPE)
    event_id = await stack.api.send(space, TYPE, payload='{"n":  1}')
    path = f"/events/{event_id}/payload?application_id={space.application_id}"

    async def ask(wanted: str | None) -> Reply:
        headers = {"Authorization": f"Bearer {space.secret}"} | ({"Range": wanted} if wanted is not None else {})
        return await stack.api.call("GET", path, headers=headers)

    whole, part, tail, beyond, none, odd = [
        await ask(wanted) for wanted in (None, "bytes=2-3", "bytes=-2", "bytes=9-", "bytes=-0", "pages=1-2")
    ]

    assert (200, b'{"n":  1}', "application/json") == (whole.status, whole.body, whole.headers["Content-Type"])
    assert (206, b'n"', "bytes 2-3/9") == (part.status, part.body, part.headers["Content-Range"])
    assert (206, b"1}") == (tail.status, tail.body)
    assert (416, "RangeNotSatisfiable") == beyond.problem
    assert (416, "RangeNotSatisfiable") == none.problem
    assert (200, whole.body) == (odd.status, odd.body)


async def test_a_test_event_is_a_real_one(stack: Stack) -> None:
    """The test event goes to the one subscription, also while it is disabled: signed, listed, with its response."""
    space = await stack.api.make_space(TYPE)
    async with Receiver() as receiver:
        made = await stack.api.subscribe(space, receiver.url("/a"), TYPE, is_enabled=False)
        await stack.api.subscribe(space, receiver.url("/other"), TYPE)
        path = f"/subscriptions/{made['subscription_id']}/test"
        asked = await stack.api.call("POST", path, {"application_id": space.application_id}, token=space.secret)
        assert 201 == asked.status, asked.text
        delivery = await wait_for_state(stack, space, made, "delivered")
        response = await get(stack, space, f"/responses/{asked.json['request_attempt_id']}")
        (request,) = receiver.requests("/a")

        assert asked.json["delivery_id"] == delivery["delivery_id"] == request.header("webhook-id")
        assert "hookline.test" == request.header("x-event-type")
        assert ("hook0", "standardwebhooks", "svix") == verify_delivery(request, made["secret"])
        assert 200 == response.json["http_code"]
        assert [] == receiver.requests("/other")


async def test_health_of_a_subscription(stack: Stack) -> None:
    """Ratio and latency of its attempts, and what is waiting."""
    space = await stack.api.make_space(TYPE)
    async with Receiver() as receiver:
        receiver.script("/a", Status(200), Status(500))
        made = await stack.api.subscribe(space, receiver.url("/a"), TYPE, delivery={"retry_delays_s": [600]})
        path = f"/subscriptions/{made['subscription_id']}/health"
        before = await stack.api.call("GET", path, token=space.secret)
        for number in (1, 2):
            await stack.api.send(space, TYPE)
            await eventually(partial(has_requests, receiver, number))

        async def find() -> dict[str, Any]:
            shown: dict[str, Any] = (await stack.api.call("GET", path, token=space.secret)).json
            assert 2 == shown["attempts"]
            return shown

        health = await eventually(find)

    assert (0, 0, None) == (before.json["deliveries"], before.json["attempts"], before.json["success_ratio"])
    assert (2, 1, 0.5) == (health["deliveries"], health["waiting"], health["success_ratio"])
    assert health["next_attempt_at"] is not None
    assert 0 <= health["latency_ms"]["p50"] <= health["latency_ms"]["p99"]


async def test_events_by_type_label_and_time(stack: Stack) -> None:
    """Filters hold together; what cannot be read is refused."""
    space = await stack.api.make_space(TYPE, "a.b.c")
    marked = await stack.api.send(space, TYPE, labels={"region": "eu", 'qu"ote': "ü,b"})
    plain = await stack.api.send(space, "a.b.c", labels={"region": "eu2"})
    received_at = (await get(stack, space, f"/events/{plain}")).json["received_at"]
    asked = [
        ({"event_type_names": f"{TYPE},x.y.z"}, [marked]),
        ({"labels": "region=eu"}, [marked]),
        ({"labels": '"qu""ote=ü,b",region=eu'}, [marked]),
        ({"labels": "region=e"}, []),
        ({"min_received_at": received_at}, [plain]),
        ({"max_received_at": received_at}, [plain, marked]),
        ({"event_type_names": TYPE, "labels": "region=eu2"}, []),
    ]
    for query, expected in asked:
        reply = await get(stack, space, "/events", **query)

        assert expected == [event["event_id"] for event in reply.json], query
    too_many = ",".join(f"a{number}=b" for number in range(11))
    for query in ({"labels": "region"}, {"labels": "=x"}, {"labels": too_many}, {"min_received_at": "now"}):
        assert (400, "InvalidQuery") == (await get(stack, space, "/events", **query)).problem
    assert (400, "InvalidQuery") == (await get(stack, space, "/deliveries", state="lost")).problem
