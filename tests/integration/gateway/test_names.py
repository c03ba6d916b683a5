"""Names of event types: whatever one step takes, every step takes, and it is delivered."""

import asyncio
import json
from typing import Any
from urllib.parse import unquote
from uuid import uuid4

import pytest
from confluent_kafka import Producer

from pipeline.core.events.content_types import TEXT_TYPE
from pipeline.core.events.records import Event, to_bytes
from tests.support.api import Reply, Space, describe_event
from tests.support.eventually import eventually
from tests.support.receiver import Receiver
from tests.support.stack import Stack

pytestmark = pytest.mark.asyncio(loop_scope="package")

# name → can it be one?
NAMES = {
    "shop.größe.neu": True,
    "shop.order.🙂": True,
    "shop.a b.c": True,
    "shop.a,b.c": True,
    "shop.50%.off%41": True,
    'shop."quoted".c': True,
    "店.注文.支払": True,
    "shop.order.paid ": False,
    " shop.order.paid": False,
    "shop.order\u00a0.paid": False,
    "shop.or\u200dder.paid": False,
    "shop.order\u2028.paid": False,
    "shop.order\u202e.paid": False,
    "shop.order\t.paid": False,
    "shop.order\x00.paid": False,
    "ü" * 40 + "." + "ü" * 40 + "." + "ü" * 40: False,
}


async def create(stack: Stack, space: Space, name: str) -> Reply:
    service, resource_type, verb = name.split(".")
    body = {"application_id": space.application_id, "service": service, "resource_type": resource_type, "verb": verb}
    return await stack.api.call("POST", "/event_types", body, token=space.secret)


async def write(stack: Stack, space: Space, *values: bytes) -> None:
    """Write straight into Kafka."""
    producer = Producer({"bootstrap.servers": stack.kafka.bootstrap_servers, "partitioner": "murmur2_random"})
    for value in values:
        producer.produce(stack.topics.events.name, value=value, key=space.application_id)
    assert 0 == await asyncio.to_thread(producer.flush, 30)


def describe_record(space: Space, name: str) -> dict[str, Any]:
    return describe_event(space.application_id, name, payload="over Kafka", payload_content_type=TEXT_TYPE)


@pytest.mark.parametrize("name", [name for name, is_fine in NAMES.items() if is_fine])
async def test_a_name_that_is_taken_is_delivered(stack: Stack, name: str) -> None:
    """Every entrance delivers the name in `X-Event-Type`, percent-encoded from UTF-8; lists can be filtered by it."""
    space = await stack.api.make_space()
    created = await create(stack, space, name)
    assert (201, name) == (created.status, created.json["event_type_name"])
    async with Receiver() as receiver:
        await stack.api.subscribe(space, receiver.url("/a"), name)
        sent = {await stack.api.send(space, name)}
        event = describe_event(space.application_id, name)
        batch = {"application_id": space.application_id, "events": [event]}
        results = (await stack.api.call("POST", "/events", batch, token=space.secret)).json["results"]
        record = describe_record(space, name)
        avro = Event(
            application_id=space.application_id,
            event_id=str(uuid4()),
            event_type=name,
            payload=b"{}",
            payload_content_type="application/json",
            labels={"all": "yes"},
            occurred_at_us=0,
            received_at_us=0,
        )
        await write(stack, space, json.dumps(record).encode(), to_bytes(avro))
        sent |= {results[0]["event_id"], record["event_id"], avro.event_id}
        await eventually(lambda: len(receiver.requests("/a")) == 4, timeout_s=60)

        assert sent == {request.header("X-Event-Id") for request in receiver.requests("/a")}
        types = [request.header("X-Event-Type") for request in receiver.requests("/a")]
        assert {name} == {unquote(each or "", errors="strict") for each in types}
    named = '"' + name.replace('"', '""') + '"'
    query = {"application_id": space.application_id, "event.event_type_names": f"nothing.of.this,{named}"}
    attempts = await stack.api.call("GET", "/request_attempts", token=space.secret, query=query)
    assert 4 == len(attempts.json)


@pytest.mark.parametrize("name", [name for name, is_fine in NAMES.items() if not is_fine])
async def test_a_name_that_cannot_be_one_is_refused_everywhere(stack: Stack, name: str) -> None:
    """Creating a type refuses it, naming it in a subscription, sending over HTTP alone and in a batch, and Kafka."""
    space = await stack.api.make_space("shop.order.paid")
    created = await create(stack, space, name)
    event = describe_event(space.application_id, name)
    single = await stack.api.call("POST", "/event", event, token=space.secret)
    batch = {"application_id": space.application_id, "events": [event]}
    in_batch = (await stack.api.call("POST", "/events", batch, token=space.secret)).json["results"][0]
    await write(stack, space, json.dumps(describe_record(space, name)).encode())

    async def find_letters() -> Any:
        path = f"/dead_letters?application_id={space.application_id}"
        return (await stack.api.call("GET", path, token=space.secret)).json

    (letter,) = await eventually(find_letters, timeout_s=60)
    assert (422, "Validation") == created.problem
    assert (422, "Validation") == single.problem
    assert (422, "Validation") == (in_batch["status"], in_batch["problem"]["id"])
    assert "invalid_event" == letter["reason"]
