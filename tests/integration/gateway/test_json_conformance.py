"""JSON is judged alike at every entrance: over HTTP and over Kafka, as a body, as a record and as a payload."""

import asyncio
import json
from typing import Any
from uuid import uuid4

import pytest
from confluent_kafka import Producer

from pipeline.core.events.content_types import JSON_TYPE
from pipeline.core.events.json_text import DEPTH_MAX
from pipeline.core.events.records import Event, to_bytes
from tests.support.api import Space, describe_event
from tests.support.conformance.json_cases import JsonCase, list_json_cases
from tests.support.eventually import eventually
from tests.support.receiver import Receiver
from tests.support.stack import Stack

pytestmark = pytest.mark.asyncio(loop_scope="package")

TYPE = "billing.invoice.paid"
CASES = list_json_cases(depth_max=DEPTH_MAX)
LABELS = {"all": "yes"}
PLACE = "@@payload@@"


def write_event(space: Space, event_id: str, text: bytes) -> bytes:
    """An event whose payload is `text`: escaped as JSON wants it where that can be, byte for byte where it cannot."""
    event = describe_event(space.application_id, TYPE, event_id=event_id, payload=PLACE, labels=LABELS)
    try:
        payload = json.dumps(text.decode()).encode()
    except UnicodeDecodeError:
        # as Latin-1, so that quotes and controls are escaped; then the bytes themselves
        payload = json.dumps(text.decode("latin-1"), ensure_ascii=False).encode("latin-1")
    return json.dumps(event).encode().replace(json.dumps(PLACE).encode(), payload)


async def test_a_payload_is_json_or_not_at_every_entrance(stack: Stack) -> None:
    """RFC 8259, JSONTestSuite: the same verdict alone, in a batch, as JSON and as Avro; what is accepted is delivered
    byte for byte, and what is refused is a problem or a dead letter.
    """
    space = await stack.api.make_space(TYPE)
    async with Receiver() as receiver:
        await stack.api.subscribe(space, receiver.url("/a"), TYPE, labels=LABELS)
        ids = {way: [str(uuid4()) for _ in CASES] for way in ("single", "batch", "json", "avro")}
        accepted = {
            "single": await send_alone(stack, space, ids["single"]),
            "batch": await send_in_batches(stack, space, ids["batch"]),
        }
        await write(stack, space, ids["json"], ids["avro"])
        # Kafka keeps the order of an application: behind the last one all are judged
        last = await stack.api.send(space, TYPE)
        await eventually(lambda: has_arrived(receiver, last), timeout_s=120)
        # as many by each way of Kafka as by each of HTTP
        expected = 4 * sum(accepted["single"]) + 1
        await eventually(lambda: len(receiver.requests("/a")) >= expected, timeout_s=120)

        delivered = {request.header("X-Event-Id"): request.body for request in receiver.requests("/a")}
        verdicts = accepted | {way: [event_id in delivered for event_id in ids[way]] for way in ("json", "avro")}
        for index, case in enumerate(CASES):
            found = {way: verdicts[way][index] for way in verdicts}
            assert 1 == len(set(found.values())), f"{case.name}: {found}"
            if case.expect != "either":
                assert (case.expect == "accept") == found["single"], case.name
            if found["single"]:
                assert {case.text} == {delivered[ids[way][index]] for way in ids}, case.name


async def test_a_body_is_json_or_not_at_every_entrance(stack: Stack) -> None:
    """Each case is an unknown member of a request's body and of a record: both judge it alike, never with a 500."""
    space = await stack.api.make_space(TYPE)
    async with Receiver() as receiver:
        await stack.api.subscribe(space, receiver.url("/a"), TYPE, labels=LABELS)
        taken, ids = [], [str(uuid4()) for _ in CASES]
        producer = Producer({"bootstrap.servers": stack.kafka.bootstrap_servers, "partitioner": "murmur2_random"})
        for case, event_id in zip(CASES, ids, strict=True):
            body = wrap(describe_event(space.application_id, TYPE), case)
            reply = await stack.api.call("POST", "/event", data=body, token=space.secret)
            assert 201 == reply.status or (400, "JsonPayload") == reply.problem, case.name
            taken.append(reply.status == 201)
            record = wrap(describe_event(space.application_id, TYPE, event_id=event_id), case)
            producer.produce(stack.topics.events.name, value=record, key=space.application_id)
        assert 0 == await asyncio.to_thread(producer.flush, 30)
        last = await stack.api.send(space, TYPE)
        await eventually(lambda: has_arrived(receiver, last), timeout_s=120)
        expected = 2 * sum(taken) + 1
        await eventually(lambda: len(receiver.requests("/a")) >= expected, timeout_s=120)

        delivered = {request.header("X-Event-Id") for request in receiver.requests("/a")}
        assert {case.name: is_taken for case, is_taken in zip(CASES, taken, strict=True)} == {
            case.name: event_id in delivered for case, event_id in zip(CASES, ids, strict=True)
        }


def has_arrived(receiver: Receiver, event_id: str) -> bool:
    return event_id in {request.header("X-Event-Id") for request in receiver.requests("/a")}


def wrap(event: dict[str, Any], case: JsonCase) -> bytes:
    return json.dumps(event).encode()[:-1] + b', "unknown": ' + case.text + b"}"


async def send_alone(stack: Stack, space: Space, ids: list[str]) -> list[bool]:
    accepted = []
    for case, event_id in zip(CASES, ids, strict=True):
        reply = await stack.api.call("POST", "/event", data=write_event(space, event_id, case.text), token=space.secret)
        refused = ((400, "EventInvalidJsonPayload"), (400, "JsonPayload"))
        assert 201 == reply.status or reply.problem in refused, f"{case.name}: {reply.text}"
        accepted.append(reply.status == 201)
    return accepted


async def send_in_batches(stack: Stack, space: Space, ids: list[str]) -> list[bool]:
    """Send the cases that are UTF-8 in one batch, and each other one alone: its whole body is refused."""
    bodies = [write_event(space, event_id, case.text) for case, event_id in zip(CASES, ids, strict=True)]
    head = b'{"application_id": "' + space.application_id.encode() + b'", "events": ['
    together = [index for index, case in enumerate(CASES) if is_utf8(case.text)]
    accepted = dict.fromkeys(range(len(CASES)), False)
    whole = head + b",".join(bodies[index] for index in together) + b"]}"
    reply = await stack.api.call("POST", "/events", data=whole, token=space.secret)
    for index, result in zip(together, reply.json["results"], strict=True):
        assert result["status"] in (201, 400), result
        accepted[index] = result["status"] == 201
    for index in accepted.keys() - set(together):
        reply = await stack.api.call("POST", "/events", data=head + bodies[index] + b"]}", token=space.secret)
        assert (400, "JsonPayload") == reply.problem, CASES[index].name
    return list(accepted.values())


async def write(stack: Stack, space: Space, json_ids: list[str], avro_ids: list[str]) -> None:
    """Write straight into Kafka."""
    producer = Producer({"bootstrap.servers": stack.kafka.bootstrap_servers, "partitioner": "murmur2_random"})
    for case, json_id, avro_id in zip(CASES, json_ids, avro_ids, strict=True):
        event = Event(
            application_id=space.application_id,
            event_id=avro_id,
            event_type=TYPE,
            payload=case.text,
            payload_content_type=JSON_TYPE,
            labels=LABELS,
            occurred_at_us=0,
            received_at_us=0,
        )
        for value in (write_event(space, json_id, case.text), to_bytes(event)):
            producer.produce(stack.topics.events.name, value=value, key=space.application_id)
    assert 0 == await asyncio.to_thread(producer.flush, 30)


def is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
