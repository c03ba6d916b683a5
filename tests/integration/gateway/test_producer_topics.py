"""Producers with topics of their own: one application each, in all formats that a gateway reads."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Mapping
from io import BytesIO
from typing import Any
from uuid import uuid4

import psycopg
import pytest
import pytest_asyncio
from cloudevents.v1.http import CloudEvent
from cloudevents.v1.kafka import to_binary, to_structured
from confluent_kafka import Producer
from fastavro import parse_schema, schemaless_writer

from pipeline.core.events.producer_record import name_topic
from pipeline.core.events.records import RoutesChanged, to_bytes
from pipeline.kafka.admin import create_producer_topic
from tests.support.api import Space
from tests.support.eventually import eventually
from tests.support.kafka import alter_topic
from tests.support.receiver import Receiver
from tests.support.schema_registry import SchemaRegistry
from tests.support.stack import Stack, run_stack

pytestmark = pytest.mark.asyncio(loop_scope="module")

TYPE = "shop.order.paid"
ALL = {"all": "yes"}
ENVELOPE = {
    "type": "record",
    "name": "Event",
    "fields": [
        {"name": "application_id", "type": "string"},
        {"name": "event_type", "type": "string"},
        {"name": "payload", "type": "bytes"},
        {"name": "payload_content_type", "type": "string"},
        {"name": "labels", "type": {"type": "map", "values": "string"}},
        {"name": "event_id", "type": ["null", "string"]},
    ],
}
ORDER = {"type": "record", "name": "Order", "fields": [{"name": "total", "type": "long"}]}
AVRO_EVENT, JSON_EVENT, AVRO_ORDER, PROTOBUF, LATER = 1, 2, 3, 4, 5
AVRO_BILL, AVRO_CIRCLE, AVRO_LOST, JSON_REFERRING = 6, 7, 8, 9
UNKNOWN_ORDER, UNKNOWN_EVENT = 20, 21
MONEY = {"type": "record", "name": "shop.Money", "fields": [{"name": "cents", "type": "long"}]}
LINE = {"type": "record", "name": "shop.Line", "fields": [{"name": "price", "type": "shop.Money"}]}
BILL = {
    "type": "record",
    "name": "Bill",
    "fields": [{"name": "lines", "type": {"type": "array", "items": "shop.Line"}}],
}
TO_MONEY, TO_LINE, TO_CIRCLE, TO_NOTHING = (
    {"name": name, "subject": subject, "version": 1}
    for name, subject in (("shop.Money", "money/v"), ("shop.Line", "line"), ("Circle", "circle"), ("None", "none"))
)
SCHEMAS: dict[int, dict[str, Any]] = {
    AVRO_EVENT: {"schema": json.dumps(ENVELOPE)},
    JSON_EVENT: {"schema": "{}", "schemaType": "JSON"},
    AVRO_ORDER: {"schema": json.dumps(ORDER), "schemaType": "AVRO"},
    PROTOBUF: {"schema": "message A {}", "schemaType": "PROTOBUF"},
    AVRO_BILL: {"schema": json.dumps(BILL), "references": [TO_LINE, TO_MONEY]},
    AVRO_CIRCLE: {"schema": json.dumps(BILL), "references": [TO_CIRCLE]},
    AVRO_LOST: {"schema": json.dumps(BILL), "references": [TO_NOTHING]},
    JSON_REFERRING: {"schema": "{}", "schemaType": "JSON", "references": [TO_NOTHING]},
}
VERSIONS: dict[tuple[str, int], dict[str, Any]] = {
    ("money/v", 1): {"schema": json.dumps(MONEY)},
    ("line", 1): {"schema": json.dumps(LINE), "references": [TO_MONEY]},
    ("circle", 1): {"schema": json.dumps(LINE), "references": [TO_CIRCLE]},
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def registry() -> AsyncIterator[SchemaRegistry]:
    async with SchemaRegistry(dict(SCHEMAS), dict(VERSIONS)) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(kafka: str, postgres: str, migrated_template: str, registry: SchemaRegistry) -> AsyncIterator[Stack]:
    settings = {
        "GATEWAY_PRODUCER_TOPICS": "true",
        "GATEWAY_SCHEMA_REGISTRY_URL": registry.url,
        "GATEWAY_SCHEMA_REGISTRY_UNKNOWN_TTL_S": "0",
        "QUOTAS_EVENTS_PER_DAY": "1000",
    }
    names = ("gateway", "gateway", "matcher", "deliver", "archive")
    async with run_stack(kafka, postgres, migrated_template, *names, **settings) as running:
        yield running


class ProducerOf:
    """A producer of one application, with no options but the address."""

    def __init__(self, stack: Stack, space: Space) -> None:
        self.topic = name_topic(stack.kafka.topic_prefix, space.application_id)
        self._producer = Producer({"bootstrap.servers": stack.kafka.bootstrap_servers})

    async def send(
        self, value: str | bytes | None, headers: Mapping[str, bytes] | None = None, *, partition: int = -1
    ) -> None:
        """`partition`: -1: that of the key."""
        self._producer.produce(self.topic, value, b"any", partition, headers=list((headers or {}).items()))
        assert 0 == await asyncio.to_thread(self._producer.flush, 60)


async def make_producer(stack: Stack, receiver: Receiver, path: str) -> tuple[Space, ProducerOf]:
    """An application with a subscription to all of its events, and its producer."""
    space = await stack.api.make_space(TYPE)
    await stack.api.subscribe(space, receiver.url(path), TYPE)
    await asyncio.to_thread(create_producer_topic, stack.kafka, space.application_id, 2)
    return space, ProducerOf(stack, space)


def describe(space: Space, payload: str, **members: Any) -> dict[str, Any]:
    """An event in the plain form."""
    return {
        "application_id": space.application_id,
        "event_id": str(uuid4()),
        "event_type": TYPE,
        "payload": payload,
        "payload_content_type": "application/json",
        "labels": ALL,
    } | members


def frame(schema_id: int, data: bytes) -> bytes:
    return b"\0" + schema_id.to_bytes(4, "big") + data


def write_avro(schema: Any, value: Any) -> bytes:
    out = BytesIO()
    schemaless_writer(out, parse_schema(schema), value)
    return out.getvalue()


def bodies(receiver: Receiver, path: str) -> set[bytes]:
    return {request.body for request in receiver.requests(path)}


def cloud_event(number: int) -> CloudEvent:
    attributes = {
        "type": TYPE,
        "source": "/shop",
        "id": str(uuid4()),
        "all": "yes",
        "datacontenttype": "application/json",
    }
    return CloudEvent(attributes, {"n": number})


async def list_letters(stack: Stack, space: Space) -> list[dict[str, Any]]:
    reply = await stack.api.call("GET", f"/dead_letters?application_id={space.application_id}", token=space.secret)
    letters: list[dict[str, Any]] = reply.json
    return letters


async def test_cloud_events_in_both_modes(stack: Stack) -> None:
    """The `cloudevents` package writes them; events written before the topic was seen are read, too."""
    async with Receiver() as receiver:
        _, producer = await make_producer(stack, receiver, "/ce")
        binary, structured = to_binary(cloud_event(1)), to_structured(cloud_event(2))
        await producer.send(binary.value, binary.headers)
        await producer.send(structured.value, structured.headers)
        await eventually(lambda: len(receiver.requests("/ce")) == 2, timeout_s=30)

        assert [{"n": 1}, {"n": 2}] == sorted((json.loads(each) for each in bodies(receiver, "/ce")), key=str)


async def test_the_confluent_wire_format(stack: Stack, registry: SchemaRegistry) -> None:
    """Events by Avro and by JSON Schema, and a CloudEvent whose data is Avro. A gateway asks for a schema once."""
    async with Receiver() as receiver:
        space, producer = await make_producer(stack, receiver, "/framed")
        event = describe(space, "") | {"payload": b'{"by": "avro"}', "event_id": None}
        binary = to_binary(cloud_event(3))
        await producer.send(frame(AVRO_EVENT, write_avro(ENVELOPE, event)))
        await producer.send(frame(JSON_EVENT, json.dumps(describe(space, '{"by": "json"}')).encode()))
        await producer.send(frame(AVRO_ORDER, write_avro(ORDER, {"total": 9})), binary.headers)
        await producer.send(frame(AVRO_EVENT, write_avro(ENVELOPE, event | {"payload": b'{"by": "avro again"}'})))
        await eventually(lambda: len(receiver.requests("/framed")) == 4, timeout_s=30)

        assert {b'{"by": "avro"}', b'{"by": "json"}', b'{"by": "avro again"}', b'{"total":9}'} == bodies(
            receiver, "/framed"
        )
        assert registry.asked.count(AVRO_EVENT) <= 2


async def test_schemas_that_refer_to_others(stack: Stack) -> None:
    """Avro is read with the types of other subjects; what they cannot be is refused, with the reason."""
    named: dict[str, Any] = {}
    for schema in (MONEY, LINE):
        parse_schema(schema, named_schemas=named)
    out = BytesIO()
    schemaless_writer(out, parse_schema(BILL, named_schemas=named), {"lines": [{"price": {"cents": 7}}]})
    async with Receiver() as receiver:
        space, producer = await make_producer(stack, receiver, "/bill")
        binary = to_binary(cloud_event(3))
        await producer.send(frame(AVRO_BILL, out.getvalue()), binary.headers)
        await producer.send(frame(JSON_REFERRING, json.dumps(describe(space, "1")).encode()))
        for schema_id in (AVRO_CIRCLE, AVRO_LOST):
            await producer.send(frame(schema_id, out.getvalue()), binary.headers)
        await eventually(lambda: len(receiver.requests("/bill")) == 2, timeout_s=30)

        async def find_details() -> list[str]:
            letters = await list_letters(stack, space)
            assert 2 == len(letters)
            return sorted(each["detail"] for each in letters)

        circle, lost = await eventually(find_details, timeout_s=30)

        assert {b'{"lines":[{"price":{"cents":7}}]}', b"1"} == bodies(receiver, "/bill")
        assert "'circle' refers to itself" in circle
        assert "does not have what it refers to: 'none'" in lost


async def test_a_topic_is_one_application_s(stack: Stack) -> None:
    """Records that name another application, Hookline's own records and records that are no event are refused."""
    async with Receiver() as receiver:
        other = await stack.api.make_space(TYPE)
        await stack.api.subscribe(other, receiver.url("/other"), TYPE)
        space, producer = await make_producer(stack, receiver, "/own")
        marker = RoutesChanged(application_id=space.application_id, routes_version=1 << 40, changed_at_us=1)
        refused = [
            json.dumps(describe(other, "1")).encode(),
            frame(JSON_EVENT, json.dumps(describe(other, "2")).encode()),
            to_bytes(marker),
            frame(PROTOBUF, b"x"),
            frame(99, b"x"),
            frame(AVRO_EVENT, b"\xff" * 9),
            b"junk",
            b"",
            None,
        ]
        for value in refused:
            await producer.send(value)
        await producer.send(json.dumps(describe(space, '{"last": 1}')).encode())
        await eventually(lambda: len(receiver.requests("/own")) == 1, timeout_s=30)

        async def are_all_there() -> bool:
            return len(await list_letters(stack, space)) == len(refused)

        await eventually(are_all_there, timeout_s=30)
        letters = await list_letters(stack, space)

        assert ["undecodable"] * 7 + ["wrong_key"] * 2 == sorted(each["reason"] for each in letters)
        assert [] == receiver.requests("/other")
        assert [] == await list_letters(stack, other)
        assert any("no schema 99" in each["detail"] for each in letters)


async def test_a_dead_letter_is_read_once_more(stack: Stack, registry: SchemaRegistry) -> None:
    """A letter is read with its headers: an event is delivered once, and what has not become one says why."""
    async with Receiver() as receiver:
        space, producer = await make_producer(stack, receiver, "/again")
        binary = to_binary(cloud_event(3))
        event = describe(space, "") | {"payload": b'{"by": "avro"}', "event_id": None}
        await producer.send(frame(UNKNOWN_ORDER, write_avro(ORDER, {"total": 9})), binary.headers)
        await producer.send(frame(UNKNOWN_EVENT, write_avro(ENVELOPE, event)))
        await producer.send(b"junk")

        async def find_letters() -> list[dict[str, Any]]:
            letters = await list_letters(stack, space)
            assert 3 == len(letters)
            return letters

        letters = await eventually(find_letters, timeout_s=30)
        body = {"application_id": space.application_id}
        too_early = await stack.api.call("POST", "/dead_letters/redrive", body, token=space.secret)
        registry.schemas |= {
            UNKNOWN_ORDER: {"schema": json.dumps(ORDER)},
            UNKNOWN_EVENT: {"schema": json.dumps(ENVELOPE)},
        }
        done = await stack.api.call("POST", "/dead_letters/redrive", body, token=space.secret)
        again = await stack.api.call("POST", "/dead_letters/redrive", body, token=space.secret)
        await eventually(lambda: len(receiver.requests("/again")) == 2, timeout_s=30)
        (junk,) = await list_letters(stack, space)

        assert (0, 3) == (too_early.json["redriven"], len(too_early.json["skipped"]))
        assert {"undecodable": 3} == done.json["matching"]
        assert (2, 0) == (done.json["redriven"], again.json["redriven"])
        assert [junk["dead_id"]] == list(done.json["skipped"])
        assert junk in letters
        assert {b'{"total":9}', b'{"by": "avro"}'} == bodies(receiver, "/again")


async def test_a_registry_that_is_away_holds_up_what_needs_it(stack: Stack, registry: SchemaRegistry) -> None:
    """Records of a schema that is not known yet wait; other topics go on; nothing is lost or refused."""
    async with Receiver() as receiver:
        space, producer = await make_producer(stack, receiver, "/waiting")
        other, others_producer = await make_producer(stack, receiver, "/going")
        registry.schemas[LATER], registry.is_away = {"schema": json.dumps(ENVELOPE)}, True
        event = describe(space, "") | {"payload": b"1"}
        await producer.send(frame(LATER, write_avro(ENVELOPE, event)))
        await eventually(lambda: LATER in registry.asked, timeout_s=30)
        await others_producer.send(json.dumps(describe(other, "2")).encode())
        await eventually(lambda: len(receiver.requests("/going")) == 1, timeout_s=30)
        health = await stack.api.call("GET", "/health")
        waiting = receiver.requests("/waiting")
        registry.is_away = False
        await eventually(lambda: len(receiver.requests("/waiting")) == 1, timeout_s=30)

        assert [] == waiting
        assert [] == await list_letters(stack, space)
        assert 200 == health.status


async def test_made_up_schemas_hold_up_their_own_producer(stack: Stack, registry: SchemaRegistry) -> None:
    """A registry is slow to say that it has no such schema: another application's events do not wait for that."""
    made_up = range(1000, 1100)
    async with Receiver() as receiver:
        space, producer = await make_producer(stack, receiver, "/made-up")
        other, others_producer = await make_producer(stack, receiver, "/going-on")
        registry.missing_takes_s = 3.0
        event = describe(space, "") | {"payload": b"1"}
        for schema_id in made_up:
            # both gateways have some of them
            await producer.send(frame(schema_id, write_avro(ENVELOPE, event)), partition=schema_id % 2)
        await eventually(lambda: made_up[0] in registry.asked, timeout_s=30)
        await others_producer.send(json.dumps(describe(other, "2")).encode())
        await eventually(lambda: len(receiver.requests("/going-on")) == 1, timeout_s=30)
        asked = len({each for each in registry.asked if each in made_up})
        registry.missing_takes_s = 0.0

        async def are_refused() -> bool:
            return len(await list_letters(stack, space)) == len(made_up)

        await eventually(are_refused, timeout_s=180)
        assert asked < len(made_up) // 4


async def test_a_quota_that_is_used_up_holds_up_its_application(stack: Stack) -> None:
    """Events over the limit of the day wait in their topic; with more room they are accepted."""
    async with Receiver() as receiver:
        space, producer = await make_producer(stack, receiver, "/quota")
        path = f"/organizations/{space.organization_id}/quotas"
        limited = await stack.api.call("PUT", path, {"events_per_day": 1})
        await producer.send(json.dumps(describe(space, "1")).encode())
        await eventually(lambda: len(receiver.requests("/quota")) == 1)
        await producer.send(json.dumps(describe(space, "2")).encode())
        other, others_producer = await make_producer(stack, receiver, "/roomy")
        await others_producer.send(json.dumps(describe(other, "3")).encode())
        await eventually(lambda: len(receiver.requests("/roomy")) == 1)
        before = bodies(receiver, "/quota")
        await stack.api.call("PUT", path, {"events_per_day": 5})
        await eventually(lambda: len(receiver.requests("/quota")) == 2)

        assert 200 == limited.status
        assert {b"1"} == before
        assert [] == await list_letters(stack, space)


async def test_an_event_that_the_log_does_not_take_holds_up_nothing(stack: Stack) -> None:
    """The event becomes a dead letter, without its value; the next one of its partition is delivered."""
    async with Receiver() as receiver:
        space = await stack.api.make_space(TYPE)
        await stack.api.subscribe(space, receiver.url("/large"), TYPE)
        await asyncio.to_thread(create_producer_topic, stack.kafka, space.application_id, 1)
        producer, servers = ProducerOf(stack, space), stack.kafka.bootstrap_servers
        await alter_topic(servers, stack.topics.events, "max.message.bytes", "20000")

        async def find_letters() -> list[dict[str, Any]]:
            return await list_letters(stack, space)

        try:
            large = random.Random(1).randbytes(60_000).hex()  # it does not compress below the limit
            await producer.send(json.dumps(describe(space, f'"{large}"')).encode())
            await producer.send(json.dumps(describe(space, "1")).encode())
            (letter,) = await eventually(find_letters)
            await eventually(lambda: len(receiver.requests("/large")) == 1)
        finally:
            await alter_topic(servers, stack.topics.events, "max.message.bytes", str(stack.kafka.record_max_bytes))

        assert "unwritable" == letter["reason"]
        assert {b"1"} == bodies(receiver, "/large")


async def test_gateways_that_die_repeat_nothing(stack: Stack) -> None:
    """Uncommitted records of a killed gateway are read again, under the same ids: each event is there once."""
    count = 200
    async with Receiver() as receiver:
        space, producer = await make_producer(stack, receiver, "/killed")
        for number in range(count // 2):
            # without an id: it follows from the record's place
            await producer.send(json.dumps(describe(space, str(number), event_id=None)).encode())
        victim = stack.processes["gateway"][1]
        await victim.kill()
        for number in range(count // 2, count):
            await producer.send(json.dumps(describe(space, str(number), event_id=None)).encode())
        await eventually(lambda: len(bodies(receiver, "/killed")) == count, timeout_s=60)
        with psycopg.connect(stack.database_url) as connection:

            def count_events() -> int:
                row = connection.execute(
                    "select count(*) from events where application_id = %s", (space.application_id,)
                ).fetchone()
                connection.rollback()
                return row[0] if row is not None else 0

            await eventually(lambda: count_events() == count, timeout_s=30)
            found = count_events()

        assert count == found
        assert count == len({request.header("webhook-id") for request in receiver.requests("/killed")})
