"""Events over HTTP: accepted once, kept byte for byte, readable at once."""

import asyncio
import base64
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.support.api import describe_event, find_link
from tests.support.eventually import eventually
from tests.support.receiver import Receiver, Status
from tests.support.stack import Stack

pytestmark = pytest.mark.asyncio(loop_scope="package")

TYPE = "billing.invoice.paid"


async def test_an_accepted_event_is_readable_at_once(stack: Stack) -> None:
    """Right after the 201 the event is in both reads, through another gateway too, with all that was sent."""
    first, second = stack.apis
    space = await first.make_space(TYPE)
    body = describe_event(
        space.application_id,
        TYPE,
        payload='{"a": 1.0,  "b":"ü"}',
        labels={"x": "1", "y": "2"},
        metadata={"m": "n"},
    )
    accepted = await first.call("POST", "/event/", body, token=space.secret)
    listed = await second.call("GET", f"/events?application_id={space.application_id}", token=space.secret)
    shown = await first.call(
        "GET", f"/events/{body['event_id']}?application_id={space.application_id}", token=space.secret
    )

    assert 201 == accepted.status
    assert {"application_id", "event_id", "received_at"} == accepted.json.keys()
    assert body["event_id"] == accepted.json["event_id"]
    summary = {name: value for name, value in shown.json.items() if name != "payload"}
    assert [summary] == listed.json
    assert body["payload"].encode() == base64.b64decode(shown.json["payload"])
    assert {
        "event_id": body["event_id"],
        "event_type_name": TYPE,
        "payload_content_type": "application/json",
        "ip": "127.0.0.1",
        "metadata": {"m": "n"},
        "occurred_at": "2026-01-02T03:04:05.678000Z",
        "received_at": accepted.json["received_at"],
        "labels": {"x": "1", "y": "2"},
    } == summary


@pytest.mark.parametrize(
    ("occurred_at", "shown"),
    [
        ("1903-12-17T10:35:00.000001-05:00", "1903-12-17T15:35:00.000001Z"),
        ("8999-07-06T05:04:03.000001Z", "8999-07-06T05:04:03.000001Z"),
        ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00.000000Z"),
    ],
)
async def test_a_time_of_any_age_is_shown_as_it_was(stack: Stack, occurred_at: str, shown: str) -> None:
    """Times before 1970, far dates to the microsecond and leap seconds (RFC 3339 §5.7) are shown as they were sent."""
    space = await stack.api.make_space(TYPE)
    body = describe_event(space.application_id, TYPE, occurred_at=occurred_at)
    accepted = await stack.api.call("POST", "/event", body, token=space.secret)
    event = await stack.api.call("GET", f"/events/{body['event_id']}?application_id={space.application_id}")

    assert 201 == accepted.status
    assert shown == event.json["occurred_at"]


async def test_an_id_is_made_when_there_is_none(stack: Stack) -> None:
    """An event without an id gets a UUIDv7, also when the id is null."""
    space = await stack.api.make_space(TYPE)
    body = describe_event(space.application_id, TYPE, event_id=None, metadata=None)
    replies = [
        await stack.api.call("POST", "/event", sent, token=space.secret)
        for sent in (body, {name: value for name, value in body.items() if name not in ("event_id", "metadata")})
    ]

    assert [201, 201] == [reply.status for reply in replies]
    assert [7, 7] == [UUID(reply.json["event_id"]).version for reply in replies]


async def test_a_repeated_id_is_refused(stack: Stack) -> None:
    """A repeat is answered with 409, another event under the id with 422, at the same gateway and at another one."""
    first, second = stack.apis
    space = await first.make_space(TYPE)
    body = describe_event(space.application_id, TYPE)
    accepted = await first.call("POST", "/event", body, token=space.secret)
    again = await first.call("POST", "/event", body | {"payload": "2", "labels": {"b": "c"}}, token=space.secret)
    await first.call("GET", f"/events/{body['event_id']}?application_id={space.application_id}")  # it is archived now
    elsewhere = await second.call("POST", "/event", body, token=space.secret)

    assert 201 == accepted.status
    assert (422, "EventIdReused") == again.problem
    assert (409, "EventAlreadyIngested") == elsewhere.problem


async def test_the_same_id_at_the_same_time_is_accepted_once(stack: Stack) -> None:
    """Exactly one of many requests with one id, sent at once, is accepted; the event is delivered once."""
    space = await stack.api.make_space(TYPE)
    async with Receiver() as receiver:
        await stack.api.subscribe(space, receiver.url("/a"), TYPE)
        body = describe_event(space.application_id, TYPE)
        replies = await asyncio.gather(*(stack.api.call("POST", "/event", body, token=space.secret) for _ in range(20)))
        last = await stack.api.send(space, TYPE)

        def list_received() -> list[str]:
            """Ids in any order: requests to one endpoint go side by side."""
            return sorted(request.header("X-Event-Id") for request in receiver.requests("/a"))

        await eventually(lambda: {body["event_id"], last} <= set(list_received()))

        assert [201] + [409] * 19 == sorted(reply.status for reply in replies)
        assert sorted([body["event_id"], last]) == list_received()


async def test_ids_are_unique_within_an_application_only(stack: Stack) -> None:
    """An id of another application is free: no client can find out, or block, the ids of others."""
    one, two = await stack.api.make_space(TYPE), await stack.api.make_space(TYPE)
    event_id = str(uuid4())

    assert event_id == await stack.api.send(one, TYPE, event_id=event_id)
    assert event_id == await stack.api.send(two, TYPE, event_id=event_id)


@pytest.mark.parametrize(
    ("content_type", "payload", "body"),
    [
        ("application/json", ' {"b":2,\n"a":1.10} ', b' {"b":2,\n"a":1.10} '),
        ("text/plain", "Grüße\r\n\x00", "Grüße\r\n\x00".encode()),
        ("text/plain", "", b""),
        ("application/octet-stream+base64", base64.b64encode(bytes(range(256))).decode(), bytes(range(256))),
        ("application/json", '"' + "é" * 699_048 + '"', ('"' + "é" * 699_048 + '"').encode()),
    ],
    ids=["json", "text", "empty", "binary", "largest"],
)
async def test_payloads_arrive_byte_for_byte(stack: Stack, content_type: str, payload: str, body: bytes) -> None:
    """Payloads are delivered and shown verbatim; base64 as the bytes it stands for."""
    space = await stack.api.make_space(TYPE)
    async with Receiver() as receiver:
        await stack.api.subscribe(space, receiver.url("/a"), TYPE)
        event_id = await stack.api.send(space, TYPE, payload=payload, payload_content_type=content_type)
        (request,) = await eventually(lambda: receiver.requests("/a"))
        shown = await stack.api.call(
            "GET", f"/events/{event_id}?application_id={space.application_id}", token=space.secret
        )

        assert body == request.body
        assert content_type == request.header("Content-Type")
        assert body == base64.b64decode(shown.json["payload"])


async def test_labels_select(stack: Stack) -> None:
    """A subscription gets the events that have all of its labels; an event may match several, or none."""
    space = await stack.api.make_space(TYPE)
    async with Receiver() as receiver:
        for path, labels in (("/a", {"a": "1"}), ("/ab", {"a": "1", "b": "2"}), ("/c", {"c": "3"})):
            await stack.api.subscribe(space, receiver.url(path), TYPE, labels=labels)
        counts = {}
        for labels in ({"a": "1"}, {"a": "1", "b": "2"}, {"a": "2", "b": "2"}, {"a": "1", "c": "3", "d": "4"}):
            event_id = await stack.api.send(space, TYPE, labels=labels)
            counts[tuple(labels.items())] = len(await stack.api.list_attempts(space, event_id))

    assert [1, 2, 0, 2] == list(counts.values())


async def test_attempts_are_listed_page_by_page(stack: Stack) -> None:
    """All attempts of an application are listed newest first, 50 a page, none left out or shown twice."""
    space = await stack.api.make_space(TYPE)
    async with Receiver() as receiver:
        await stack.api.subscribe(space, receiver.url("/a"), TYPE)
        event_ids = [await stack.api.send(space, TYPE) for _ in range(120)]
        await eventually(lambda: len(receiver.requests("/a")) == 120)

    async def list_pages() -> list[list[dict[str, Any]]]:
        pages: list[list[dict[str, Any]]] = []
        path: str | None = f"/request_attempts?application_id={space.application_id}"
        while path:
            page = await stack.api.call("GET", path, token=space.secret)
            pages.append(page.json)
            path = find_link(page, "next")
        # a request reaches its receiver before its attempt is recorded: until then it is pending
        assert "pending" not in {attempt["status"]["type"] for page in pages for attempt in page}
        return pages

    pages = await eventually(list_pages)
    found = [attempt for page in pages for attempt in page]

    assert [50, 50, 20, 0] == [len(page) for page in pages]
    assert event_ids == [attempt["event_id"] for attempt in reversed(found)]
    assert {"successful"} == {attempt["status"]["type"] for attempt in found}


async def test_an_attempt_shows_what_was_sent(stack: Stack) -> None:
    """The owner of an endpoint sees the request, secrets redacted, its timings, and what comes next."""
    space = await stack.api.make_space(TYPE)
    async with Receiver(default=Status(503)) as receiver:
        target = {"type": "http", "method": "PUT", "url": receiver.url("/a?b=c"), "headers": {"X-Api-Key": "hidden"}}
        # on a slow machine the retry of the default schedule would be made meanwhile
        later = {"retry_delays_s": [600]}
        await stack.api.subscribe(space, receiver.url("/a"), TYPE, target=target, delivery=later)
        event_id = await stack.api.send(space, TYPE)

        async def find_made() -> dict[str, Any]:
            waiting, made = await stack.api.list_attempts(space, event_id)
            assert ("waiting", "failed") == (waiting["status"]["type"], made["status"]["type"])
            found: dict[str, Any] = made
            return found

        async def find_made_or_wait() -> dict[str, Any] | None:
            try:
                return await find_made()
            except ValueError:  # the second one is not known yet
                return None

        made = await eventually(find_made_or_wait)
        path = f"/request_attempts/{made['request_attempt_id']}?application_id={space.application_id}"
        shown = (await stack.api.call("GET", path, token=space.secret)).json

        assert made.items() <= shown.items()
        assert ("PUT", receiver.url("/a?b=c")) == (shown["request"]["method"], shown["request"]["url"])
        assert event_id == shown["request"]["headers"]["x-event-id"]
        assert "hidden" not in str(shown)
        assert {"class": "E_HTTP", "detail": "the endpoint answered 503"} == shown["error"]
        assert {"first_byte", "total"} <= shown["timings_ms"].keys()
        assert shown["next_attempt_at"] is not None
