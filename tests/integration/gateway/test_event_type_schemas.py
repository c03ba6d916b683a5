"""JSON Schema of event types, with the real processes: who sends what does not fit hears of it, by whatever way."""

import json
from typing import Any

import pytest
from confluent_kafka import Producer

from pipeline.core.events.records import Event, to_bytes
from tests.support.api import OCCURRED_AT, Reply, Space, describe_event
from tests.support.eventually import eventually
from tests.support.receiver import Receiver
from tests.support.stack import Stack

pytestmark = pytest.mark.asyncio(loop_scope="package")

TYPE = "billing.invoice.paid"
SCHEMA: dict[str, Any] = {"type": "object", "required": ["id"], "properties": {"id": {"type": "integer"}}}
FITS, DOES_NOT = '{"id": 7}', '{"id": "hush"}'


async def change(stack: Stack, space: Space, **members: Any) -> Reply:
    body = {"application_id": space.application_id} | members
    return await stack.api.call("PUT", f"/event_types/{TYPE}", body, token=space.secret)


async def send(stack: Stack, space: Space, payload: str) -> Reply:
    body = describe_event(space.application_id, TYPE, payload=payload)
    return await stack.api.call("POST", "/event", body, token=space.secret)


async def test_over_http_what_does_not_fit_is_refused(stack: Stack) -> None:
    """One by one, in a batch and as a CloudEvent, from the very next event on; the problem says where, and no value."""
    space = await stack.api.make_space(TYPE)
    assert 201 == (await send(stack, space, DOES_NOT)).status
    assert 200 == (await change(stack, space, payload_schema=SCHEMA, schema_mode="refuse")).status

    refused = await send(stack, space, DOES_NOT)
    assert (422, "EventPayloadUnfit") == refused.problem
    assert "/id" in refused.json["detail"]
    assert "hush" not in refused.text
    assert 201 == (await send(stack, space, FITS)).status
    events = [describe_event("", TYPE, payload=payload) for payload in (FITS, DOES_NOT)]
    for event in events:
        del event["application_id"]
    body = {"application_id": space.application_id, "events": events}
    results = (await stack.api.call("POST", "/events", body, token=space.secret)).json["results"]
    assert [201, 422] == [result["status"] for result in results]
    cloud = {"specversion": "1.0", "id": "1", "source": "/a", "type": TYPE, "data": {"id": "hush"}}
    headers = {"Authorization": f"Bearer {space.secret}", "Content-Type": "application/cloudevents+json"}
    path = f"/cloudevents?application_id={space.application_id}"
    reply = await stack.api.call("POST", path, data=json.dumps(cloud).encode(), headers=headers)
    assert (422, "EventPayloadUnfit") == reply.problem
    # the id of what was refused is free
    event = describe_event(space.application_id, TYPE, payload=DOES_NOT)
    first = await stack.api.call("POST", "/event", event, token=space.secret)
    second = await stack.api.call("POST", "/event", event | {"payload": FITS}, token=space.secret)
    assert [422, 201] == [first.status, second.status]


async def test_a_warning_comes_with_the_acceptance(stack: Stack) -> None:
    """An event that a schema only warns of is taken and delivered; a schema that is off says nothing."""
    space = await stack.api.make_space(TYPE)
    async with Receiver() as receiver:
        await stack.api.subscribe(space, receiver.url("/a"), TYPE)
        await change(stack, space, payload_schema=SCHEMA, schema_mode="warn")
        warned, fine = await send(stack, space, DOES_NOT), await send(stack, space, FITS)
        await change(stack, space, payload_schema=SCHEMA, schema_mode="off")
        off = await send(stack, space, DOES_NOT)
        await eventually(lambda: len(receiver.requests("/a")) == 3)

    assert [201, 201, 201] == [warned.status, fine.status, off.status]
    assert "version 1 of the schema" in warned.json["warning"]
    assert [False, False] == ["warning" in each.json for each in (fine, off)]


async def test_from_kafka_what_does_not_fit_is_a_dead_letter(stack: Stack) -> None:
    """A producer gets no answer: the dead letter says where the payload does not fit. Fitting ones are delivered."""
    space = await stack.api.make_space(TYPE)
    await change(stack, space, payload_schema=SCHEMA, schema_mode="refuse")
    producer = Producer({"bootstrap.servers": stack.kafka.bootstrap_servers, "partitioner": "murmur2_random"})
    async with Receiver() as receiver:
        await stack.api.subscribe(space, receiver.url("/a"), TYPE)
        for payload in (DOES_NOT, FITS):
            form: dict[str, Any] = {"application_id": space.application_id, "event_type": TYPE, "payload": payload}
            form |= {"payload_content_type": "application/json", "labels": {"all": "yes"}, "occurred_at": OCCURRED_AT}
            value = json.dumps(form).encode()
            producer.produce(stack.topics.events.name, key=space.application_id.encode(), value=value)
        assert 0 == producer.flush(60)

        async def find() -> dict[str, Any]:
            reply = await stack.api.call("GET", f"/dead_letters?application_id={space.application_id}")
            assert 1 == len(reply.json)
            (letter,) = reply.json
            return dict(letter)

        letter = await eventually(find)
        await eventually(lambda: len(receiver.requests("/a")) == 1)

        assert "schema" == letter["reason"]
        assert "at /id" in letter["detail"]
        assert FITS.encode() == receiver.requests("/a")[0].body


async def test_what_was_accepted_is_delivered(stack: Stack) -> None:
    """An event that a gateway checked before the schema changed is not checked again by the matcher behind it."""
    space = await stack.api.make_space(TYPE)
    async with Receiver() as receiver:
        await stack.api.subscribe(space, receiver.url("/a"), TYPE)
        await change(stack, space, payload_schema=SCHEMA, schema_mode="refuse")
        event = Event(
            application_id=space.application_id,
            event_id=describe_event("", TYPE)["event_id"],
            event_type=TYPE,
            payload=DOES_NOT.encode(),
            payload_content_type="application/json",
            labels={"all": "yes"},
            occurred_at_us=0,
            received_at_us=0,
            schema_version=0,  # as a gateway writes that knew of none
        )
        producer = Producer({"bootstrap.servers": stack.kafka.bootstrap_servers, "partitioner": "murmur2_random"})
        producer.produce(stack.topics.events.name, key=space.application_id.encode(), value=to_bytes(event))
        assert 0 == producer.flush(60)
        await eventually(lambda: len(receiver.requests("/a")) == 1)


async def test_versions_and_examples(stack: Stack) -> None:
    """Another schema is another version, the same is not; an example fits, or is refused with the schema."""
    space = await stack.api.make_space(TYPE)
    path = f"/event_types/{TYPE}?application_id={space.application_id}"
    new = (await stack.api.call("GET", path)).json
    assert ("off", 0, None, None) == tuple(
        new[name] for name in ("schema_mode", "schema_version", "payload_schema", "example")
    )
    first = await change(stack, space, payload_schema=SCHEMA, example=FITS)
    same = await change(stack, space, payload_schema=SCHEMA, schema_mode="warn", example=FITS)
    second = await change(stack, space, payload_schema=True)
    none = await change(stack, space)
    third = await change(stack, space, payload_schema=SCHEMA)
    listed = (await stack.api.call("GET", path.replace("?", "/schemas?"))).json

    assert [1, 1, 2, 0, 3] == [each.json["schema_version"] for each in (first, same, second, none, third)]
    assert FITS == same.json["example"]
    assert [(3, SCHEMA), (2, True), (1, SCHEMA)] == [
        (each["schema_version"], each["payload_schema"]) for each in listed
    ]
    for members, field in (
        ({"payload_schema": SCHEMA, "example": DOES_NOT}, "example"),
        ({"example": "{"}, "example"),
        ({"payload_schema": {"$ref": "http://169.254.169.254/"}}, "payload_schema"),
        ({"schema_mode": "refuse"}, "payload_schema"),
    ):
        refused = await change(stack, space, **members)
        assert (422, "Validation") == refused.problem
        assert [field] == list(refused.json["validation"])
    assert third.json == (await stack.api.call("GET", path)).json
    unknown = await stack.api.call("PUT", "/event_types/a.b.c", {"application_id": space.application_id})
    assert (404, "NotFound") == unknown.problem
    missing = await stack.api.call("GET", f"/event_types/a.b.c/schemas?application_id={space.application_id}")
    assert (404, "NotFound") == missing.problem
