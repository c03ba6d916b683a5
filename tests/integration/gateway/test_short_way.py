"""An event goes the short way or the long one: both give the same answer."""

import json
from typing import Any

import pytest

from pipeline.gateway.server import API_PATH
from tests.support.api import Space, describe_event
from tests.support.raw_http import RawHttp, RawReply, write_request
from tests.support.stack import Stack

pytestmark = pytest.mark.asyncio(loop_scope="package")

TYPE = "billing.invoice.paid"
TARGET = f"{API_PATH}/event".encode()
# a field that is there twice: nothing to the long way, and not plain
LONG = {"X-Twice": b"a", "x-twice": b"a"}
# differ from one answer to the next
OF_THIS_ANSWER = ("date", "content-length")


def write_event(space: Space, body: object, headers: dict[str, bytes]) -> bytes:
    content = {"Authorization": f"Bearer {space.secret}".encode(), "Content-Type": b"application/json"}
    return write_request("POST", TARGET, content | headers, json.dumps(body).encode())


def compare(reply: RawReply) -> tuple[int, dict[str, str], list[str]]:
    """Return what two answers to the same request have in common."""
    headers = {name: value for name, value in reply.headers.items() if name not in OF_THIS_ANSWER}
    return reply.status, headers, sorted(reply.json)


async def test_both_ways_give_the_same_answer(stack: Stack) -> None:
    """Status, headers and members of a 201 are the same, and both events can be read."""
    space = await stack.api.make_space(TYPE)
    replies = []
    async with RawHttp(stack.api.url) as client:
        for headers in ({}, LONG):
            body = describe_event(space.application_id, TYPE)
            replies.append(await client.exchange(write_event(space, body, headers)))
    listed = await stack.api.call("GET", f"/events?application_id={space.application_id}", token=space.secret)

    assert 201 == replies[0].status
    assert compare(replies[1]) == compare(replies[0])
    assert {reply.json["event_id"] for reply in replies} == {event["event_id"] for event in listed.json}


CHANGES: list[dict[str, Any]] = [
    {"event_type": "no.such.type"},
    {"event_type": ""},
    {"payload": "{"},
    {"payload_content_type": "text/html"},
    {"occurred_at": "yesterday"},
    {"labels": {}},
    {"labels": {"a": "\x00"}},
    {"metadata": {"k": "v" * 60}},
    {"application_id": "5b0c3a8e-1f0d-4f7a-9d52-8a4c6e2b7f11"},  # of no application
    {"application_id": "none"},
    {"event_id": 7},
]


@pytest.mark.parametrize("change", CHANGES, ids=str)
async def test_both_ways_refuse_the_same(stack: Stack, change: dict[str, Any]) -> None:
    """The answer to a wrong event is the one that the documentation names, whatever is wrong with it."""
    space = await stack.api.make_space(TYPE)
    async with RawHttp(stack.api.url) as client:
        bodies = [describe_event(space.application_id, TYPE) | change for _ in range(2)]
        short = await client.exchange(write_event(space, bodies[0], {}))
        long = await client.exchange(write_event(space, bodies[1], LONG))

    assert 400 <= short.status < 500
    assert long.problem == short.problem
    assert compare(long) == compare(short)


async def test_both_ways_know_the_same_ids(stack: Stack) -> None:
    """An event that comes again is refused by either way, whichever took it; another one under its id is a mistake."""
    space = await stack.api.make_space(TYPE)
    found = []
    async with RawHttp(stack.api.url) as client:
        for first, second in (({}, LONG), (LONG, {}), ({}, {})):
            body = describe_event(space.application_id, TYPE)
            await client.exchange(write_event(space, body, first))
            again = await client.exchange(write_event(space, body, second))
            other = await client.exchange(write_event(space, body | {"payload": "7"}, second))
            found.append((again.problem, other.problem))

    assert [((409, "EventAlreadyIngested"), (422, "EventIdReused"))] * 3 == found


async def test_requests_in_one_packet_are_answered_in_their_order(stack: Stack) -> None:
    """An event and what follows it in the same packet, be it another event or something else, are all answered."""
    space = await stack.api.make_space(TYPE)
    bodies = [describe_event(space.application_id, TYPE) for _ in range(2)]
    first, last = (write_event(space, body, {}) for body in bodies)
    errors = write_request("GET", f"{API_PATH}/errors".encode(), {})
    async with RawHttp(stack.api.url) as client:
        await client.exchange(write_event(space, describe_event(space.application_id, TYPE), {}))
        replies = [await client.exchange(data) for data in (first + errors + last, b"", b"")]

    assert [201, 200, 201] == [reply.status for reply in replies]
    assert [body["event_id"] for body in bodies] == [replies[0].json["event_id"], replies[2].json["event_id"]]


async def test_what_comes_behind_an_event_on_its_way_waits(stack: Stack) -> None:
    """Two packets, the second one before the first one's answer: both are answered, in order."""
    space = await stack.api.make_space(TYPE)
    bodies = [describe_event(space.application_id, TYPE) for _ in range(20)]
    async with RawHttp(stack.api.url) as client:
        await client.exchange(write_event(space, describe_event(space.application_id, TYPE), {}))
        for body in bodies:
            client.send(write_event(space, body, {}))
        answered = [(await client.exchange(b"")).json["event_id"] for _ in bodies]

    assert [body["event_id"] for body in bodies] == answered


async def test_an_event_in_pieces_is_taken(stack: Stack) -> None:
    """A head in one packet and its body in another are one event."""
    space = await stack.api.make_space(TYPE)
    body = describe_event(space.application_id, TYPE)
    data = write_event(space, body, {})
    async with RawHttp(stack.api.url) as client:
        await client.exchange(write_event(space, describe_event(space.application_id, TYPE), {}))
        client.send(data[:-40])
        await stack.api.call("GET", "/errors")
        reply = await client.exchange(data[-40:])

    assert (201, body["event_id"]) == (reply.status, reply.json["event_id"])
