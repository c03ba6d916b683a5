"""Dead letters over HTTP and by command: listed, shown, and sent again to a good end."""

import asyncio
import json
from uuid import uuid4

import pytest

from pipeline.gateway.dead_letters import PAGE_LETTERS
from tests.support.api import describe_event, describe_type, find_link
from tests.support.commands import run_hookline
from tests.support.eventually import eventually
from tests.support.receiver import Receiver, Status
from tests.support.stack import Stack

pytestmark = pytest.mark.asyncio(loop_scope="package")

TYPE = "billing.invoice.paid"


async def run_command(stack: Stack, *arguments: str) -> tuple[int, str]:
    """`hookline` with the stack's settings: exit code, and all it printed."""
    ended = await run_hookline(*arguments, environ=stack.environ)
    return ended.code, ended.out + ended.err


async def test_exhausted_deliveries_are_redriven(stack: Stack) -> None:
    """A delivery that was given up is listed with its reason; sent again it arrives under its id, with new attempts."""
    space = await stack.api.make_space(TYPE)
    query = f"?application_id={space.application_id}"
    async with Receiver() as receiver:
        receiver.script("/a", Status(500))
        await stack.api.subscribe(space, receiver.url("/a"), TYPE, delivery={"retry_delays_s": [0.1]})
        event_ids = {await stack.api.send(space, TYPE) for _ in range(3)}

        async def find() -> list[dict[str, str]]:
            letters: list[dict[str, str]] = (await stack.api.call("GET", f"/dead_letters{query}")).json
            assert len(letters) == 3
            return letters

        letters = await eventually(find)
        first = letters[0]
        body = {"application_id": space.application_id, "reason": "exhausted"}
        counted = await stack.api.call("POST", "/dead_letters/redrive", body | {"dry_run": True}, token=space.secret)
        receiver.script("/a", Status(200))
        one = await stack.api.call(
            "POST", "/dead_letters/redrive", body | {"dead_ids": [first["dead_id"]]}, token=space.secret
        )
        rest = await stack.api.call("POST", "/dead_letters/redrive", body, token=space.secret)
        await eventually(lambda: len(receiver.requests("/a")) == 9)

        async def are_recorded() -> bool:
            return all([len(await stack.api.list_attempts(space, event_id)) == 3 for event_id in event_ids])

        await eventually(are_recorded)
        again = await stack.api.call("POST", "/dead_letters/redrive", body, token=space.secret)
        shown = await stack.api.call("GET", f"/dead_letters/{first['dead_id']}{query}", token=space.secret)

        assert event_ids == {letter["event_id"] for letter in letters}
        assert {"exhausted"} == {letter["reason"] for letter in letters}
        assert ({"exhausted": 3}, 0) == (counted.json["matching"], counted.json["redriven"])
        assert (1, 2, 0) == (one.json["redriven"], rest.json["redriven"], again.json["redriven"])
        assert shown.json["redriven_at"] is not None
        by_id: dict[str, list[str]] = {}
        for request in receiver.requests("/a"):
            by_id.setdefault(request.header("webhook-id"), []).append(request.answer)
        assert [["Status(code=500)"] * 2 + ["Status(code=200)"]] * 3 == [
            [answer.split(",")[0].rstrip(")") + ")" for answer in answers] for answers in by_id.values()
        ]
        assert {letter["delivery_id"] for letter in letters} == by_id.keys()


async def test_refused_events_are_redriven_once_their_type_exists(stack: Stack) -> None:
    """An event of an unknown type that came by Kafka is not lost: it is delivered when it is sent again."""
    from confluent_kafka import Producer

    from pipeline.core.events.records import Event, to_bytes

    space = await stack.api.make_space()
    event_id = str(uuid4())
    event = Event(
        application_id=space.application_id,
        event_id=event_id,
        event_type=TYPE,
        payload=b"{}",
        payload_content_type="application/json",
        labels={"all": "yes"},
        occurred_at_us=1,
        received_at_us=1,
    )
    producer = Producer({"bootstrap.servers": stack.kafka.bootstrap_servers, "partitioner": "murmur2_random"})
    producer.produce(stack.topics.events.name, key=space.application_id.encode(), value=to_bytes(event))
    assert 0 == producer.flush(60)
    query = f"?application_id={space.application_id}&event_id={event_id}"

    async def find() -> dict[str, str]:
        (letter,) = (await stack.api.call("GET", f"/dead_letters{query}")).json or [None]
        found: dict[str, str] = letter
        return found

    letter = await eventually(find)
    await stack.api.call("POST", "/event_types", describe_type(space.application_id, TYPE))
    async with Receiver() as receiver:
        await stack.api.subscribe(space, receiver.url("/a"), TYPE)
        code, output = await run_command(stack, "dead", "redrive", letter["dead_id"])
        (request,) = await eventually(lambda: receiver.requests("/a"))

        assert "unknown_event_type" == letter["reason"]
        assert (0, True) == (code, "sent 1 dead letters again" in output), output
        assert event_id == request.header("X-Event-Id")


async def test_pages_lead_on_and_back(stack: Stack) -> None:
    """Each letter once in both ways, and none before the oldest one."""
    from confluent_kafka import Producer

    space = await stack.api.make_space()
    options = {"bootstrap.servers": stack.kafka.bootstrap_servers, "partitioner": "murmur2_random"}
    producer = Producer(options)
    count = 2 * PAGE_LETTERS + 5
    for _ in range(count):
        event = json.dumps(describe_event(space.application_id, TYPE)).encode()
        producer.produce(stack.topics.events.name, key=space.application_id.encode(), value=event)
    assert 0 == await asyncio.to_thread(producer.flush, 30)
    query = f"/dead_letters?application_id={space.application_id}"

    async def read_pages() -> list[list[str]]:
        pages, link = [], query
        while link:
            page = await stack.api.call("GET", link, token=space.secret)
            pages.append([letter["dead_id"] for letter in page.json])
            link = find_link(page, "next") or ""
        return pages if sum(map(len, pages)) == count else []

    pages = await eventually(read_pages, timeout_s=60)
    first = await stack.api.call("GET", query, token=space.secret)
    second = await stack.api.call("GET", find_link(first, "next") or "", token=space.secret)
    third = await stack.api.call("GET", find_link(second, "next") or "", token=space.secret)
    back = [third]
    while (link := find_link(back[-1], "prev")) is not None:
        back.append(await stack.api.call("GET", link, token=space.secret))
    onward = await stack.api.call("GET", find_link(back[1], "next") or "", token=space.secret)

    assert [PAGE_LETTERS, PAGE_LETTERS, 5] == [len(page) for page in pages]
    assert count == len({dead_id for page in pages for dead_id in page})
    assert [*pages[::-1], []] == [[letter["dead_id"] for letter in page.json] for page in back]
    assert pages[2] == [letter["dead_id"] for letter in onward.json]
    assert find_link(first, "prev") is None


async def test_a_letter_without_its_record_is_not_redriven(stack: Stack) -> None:
    """A record too large to stand in a dead letter is left out with the reason; nothing empty is written."""
    from confluent_kafka import Producer

    space = await stack.api.make_space(TYPE)
    # larger than what a delivery can hold, smaller than what the topic takes
    payload = "x" * (stack.kafka.record_max_bytes - 6 * 1024)
    event = describe_event(space.application_id, TYPE, payload=payload, payload_content_type="text/plain")
    options = {"bootstrap.servers": stack.kafka.bootstrap_servers, "partitioner": "murmur2_random"}
    producer = Producer(options | {"message.max.bytes": 2 * stack.kafka.record_max_bytes})
    producer.produce(stack.topics.events.name, key=space.application_id.encode(), value=json.dumps(event).encode())
    assert 0 == producer.flush(30)

    async def find() -> str:
        letters = (await stack.api.call("GET", f"/dead_letters?application_id={space.application_id}")).json
        return letters[0]["dead_id"] if letters else ""

    dead_id = await eventually(find, timeout_s=60)
    body = {"application_id": space.application_id}
    reply = await stack.api.call("POST", "/dead_letters/redrive", body, token=space.secret)

    assert (0, {dead_id}) == (reply.json["redriven"], reply.json["skipped"].keys())
    assert "too large" in reply.json["skipped"][dead_id]


async def test_the_command_lists_shows_and_counts(stack: Stack) -> None:
    """An operator finds letters by filter, sees the record, and must confirm."""
    space = await stack.api.make_space(TYPE)
    async with Receiver(default=Status(400)) as receiver:
        created = await stack.api.subscribe(space, receiver.url("/a"), TYPE, delivery={"retry_delays_s": []})
        event_id = await stack.api.send(space, TYPE)

        async def find() -> str:
            (letter,) = (await stack.api.call("GET", f"/dead_letters?application_id={space.application_id}")).json
            dead_id: str = letter["dead_id"]
            return dead_id

        async def find_or_wait() -> str:
            try:
                return await find()
            except ValueError:
                return ""

        dead_id = await eventually(find_or_wait)
        by_subscription = ("--subscription", created["subscription_id"])
        listed = await run_command(stack, "dead", "list", *by_subscription)
        none = await run_command(stack, "dead", "list", *by_subscription, "--until", "2020-01-01T00:00:00Z")
        shown = await run_command(stack, "dead", "show", dead_id)
        unknown = await run_command(stack, "dead", "show", str(uuid4()))
        unfiltered = await run_command(stack, "dead", "redrive")
        junk = await run_command(stack, "dead", "list", "--since", "yesterday")
        dry = await run_command(stack, "dead", "redrive", *by_subscription, "--dry-run")

        assert 0 == listed[0]
        assert dead_id in listed[1]
        assert "1 exhausted" in listed[1]
        assert (0, "no dead letters") == (none[0], none[1].strip())
        assert event_id in shown[1]
        assert "Delivery(" in shown[1]
        assert (1, True) == (unknown[0], "there is no dead letter" in unknown[1])
        assert (2, True) == (unfiltered[0], "--everything" in unfiltered[1])
        assert (2, True) == (junk[0], "RFC 3339" in junk[1])
        assert "would send 1 dead letters again (1 exhausted)" in dry[1]
        assert 1 == len(receiver.requests("/a"))
