"""One trace shows an event's whole way: real processes export to a collector that decodes OTLP."""

import asyncio
import json
from collections.abc import AsyncIterator
from uuid import uuid4

import aiohttp
import pytest
import pytest_asyncio
from confluent_kafka import Producer

from pipeline.core.events.producer_record import name_topic
from pipeline.kafka.admin import create_producer_topic
from pipeline.kafka.producer import LogProducer
from pipeline.metrics import Metrics
from tests.support.api import Space, describe_event, describe_type
from tests.support.eventually import eventually
from tests.support.otlp import Collector, ReceivedSpan
from tests.support.receiver import FailTimes, Ok, Receiver, Slow, Status
from tests.support.single_process import SingleProcess
from tests.support.stack import Stack, run_stack

TYPE, OTHER_TYPE = "billing.invoice.paid", "billing.invoice.sent"
CALLER_SPAN = "00f067aa0ba902b7"
ROUTE = "/api/v1/event"
WAIT_S = 60
# a lane that competes with others parks early
QUICKLY_PARKED = {"WORKER_LANE_MAX_RECORDS": "2", "WORKER_CONCURRENCY": "1"}
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def collector() -> AsyncIterator[Collector]:
    async with Collector() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(kafka: str, postgres: str, migrated_template: str, collector: Collector) -> AsyncIterator[Stack]:
    names = ("gateway", "matcher", "deliver", "archive")
    settings = {"TRACING_ENABLED": "true", "TRACING_TO_RECEIVERS": "true", "GATEWAY_PRODUCER_TOPICS": "true"}
    settings |= QUICKLY_PARKED
    async with run_stack(kafka, postgres, migrated_template, *names, **collector.variables, **settings) as running:
        yield running


def make_trace() -> tuple[str, str]:
    """A trace id, and the `traceparent` of a caller in it."""
    trace_id = uuid4().hex
    return trace_id, f"00-{trace_id}-{CALLER_SPAN}-01"


def show_tree(stack: Stack, spans: list[ReceivedSpan]) -> list[str]:
    """Each span as `process: name < parent's name`, sorted."""
    names = {span.span_id: span.name.replace(stack.kafka.topic_prefix, "") for span in spans}
    return sorted(
        f"{span.service.removeprefix('hookline-')}: {names[span.span_id]} < {names.get(span.parent_id, span.parent_id)}"
        for span in spans
    )


def list_expected(*, root: str, attempts: int, route: str = ROUTE, events: int = 1) -> list[str]:
    """The tree of a request whose events one subscription selects; `attempts`: for each event."""
    of_an_event = [
        f"archive: archive events < POST {route}",
        f"matcher: match < POST {route}",
        "archive: archive dispatches < match",
        *["deliver: attempt < match", "archive: archive attempts < attempt"] * attempts,
    ]
    return sorted([f"gateway: POST {route} < {root}", *of_an_event * events])


def make_headers(space: Space, parent: str, content_type: str = "application/json") -> dict[str, str]:
    """The headers of a request that a caller traces."""
    return {"Authorization": f"Bearer {space.secret}", "Content-Type": content_type, "traceparent": parent}


async def wait_for(collector: Collector, trace_id: str, count: int) -> list[ReceivedSpan]:
    await eventually(lambda: len(collector.of(trace_id)) >= count, timeout_s=WAIT_S)
    return collector.of(trace_id)


@pytest.mark.parametrize("form", ["plain", "unusual"])
async def test_one_trace_from_the_request_to_the_archive(stack: Stack, collector: Collector, form: str) -> None:
    """The caller's context is continued by each process, by the gateway's short way and by its long one."""
    trace_id, parent = make_trace()
    async with Receiver() as receiver:
        space = await stack.api.make_space(TYPE)
        made = await stack.api.subscribe(space, receiver.url("/a"), TYPE)
        event = describe_event(space.application_id, TYPE)
        # a parameter that no client sends keeps the request from the short way
        content_type = "application/json" if form == "plain" else "application/json; charset=UTF-8; a=b"
        reply = await stack.api.call(
            "POST",
            "/event",
            event,
            headers={
                "Authorization": f"Bearer {space.secret}",
                "Content-Type": content_type,
                "traceparent": parent,
                "tracestate": "vendor=1",
            },
        )
        expected = list_expected(root=CALLER_SPAN, attempts=1)
        spans = await wait_for(collector, trace_id, len(expected))
        (request,) = receiver.requests("/a")
    (attempt,) = [span for span in spans if span.name == "attempt"]

    assert 201 == reply.status, reply.text
    assert expected == show_tree(stack, spans)
    assert f"00-{trace_id}-{attempt.span_id}-01" == request.header("traceparent")
    assert {
        "hookline.application_id": space.application_id,
        "hookline.event_id": event["event_id"],
        "hookline.event_type": TYPE,
        "hookline.subscription_id": made["subscription_id"],
        "hookline.attempt_number": 1,
        "hookline.outcome": "succeeded",
        "http.response.status_code": 200,
    }.items() <= attempt.attributes.items()
    assert all(span.took_ns >= 0 for span in spans)


async def test_a_request_without_a_context_begins_a_trace(stack: Stack, collector: Collector) -> None:
    """A plain request while tracing is on: the gateway's span is the root."""
    async with Receiver() as receiver:
        space = await stack.api.make_space(TYPE)
        await stack.api.subscribe(space, receiver.url("/a"), TYPE)
        event_id = await stack.api.send(space, TYPE)

        def find() -> str:
            return next(
                each.trace_id for each in collector.spans if each.attributes.get("hookline.event_id") == event_id
            )

        await eventually(lambda: any(each.attributes.get("hookline.event_id") == event_id for each in collector.spans))
        expected = list_expected(root="", attempts=1)
        spans = await wait_for(collector, find(), len(expected))

    assert expected == show_tree(stack, spans)


async def test_a_retry_is_in_the_same_trace(stack: Stack, collector: Collector) -> None:
    """Both attempts are below the match; the failed one says why."""
    trace_id, parent = make_trace()
    async with Receiver() as receiver:
        receiver.script("/a", FailTimes(1), Ok())
        space = await stack.api.make_space(TYPE)
        await stack.api.subscribe(space, receiver.url("/a"), TYPE, delivery={"retry_delays_s": [1]})
        await stack.api.call(
            "POST",
            "/event",
            describe_event(space.application_id, TYPE),
            headers={
                "Authorization": f"Bearer {space.secret}",
                "Content-Type": "application/json",
                "traceparent": parent,
            },
        )
        expected = list_expected(root=CALLER_SPAN, attempts=2)
        spans = await wait_for(collector, trace_id, len(expected))
    attempts = sorted(
        (
            span.attributes["hookline.attempt_number"],
            span.attributes["hookline.outcome"],
            span.attributes.get("error.type"),
        )
        for span in spans
        if span.name == "attempt"
    )

    assert expected == show_tree(stack, spans)
    assert [(1, "failed", "E_HTTP"), (2, "succeeded", None)] == attempts


@pytest.mark.parametrize("topic", ["of events", "of its own"])
async def test_a_producers_context_is_continued(stack: Stack, collector: Collector, topic: str) -> None:
    """An event in Kafka belongs to its writer's trace, from the topic of events and from one of the producer's own."""
    trace_id, parent = make_trace()
    async with Receiver() as receiver:
        space = await stack.api.make_space(TYPE)
        await stack.api.subscribe(space, receiver.url("/a"), TYPE)
        value = json.dumps(describe_event(space.application_id, TYPE)).encode()
        if topic == "of events":
            await write_traced(stack, space.application_id, value, parent)
        else:
            await asyncio.to_thread(create_producer_topic, stack.kafka, space.application_id, 1)
            producer = Producer({"bootstrap.servers": stack.kafka.bootstrap_servers})
            name = name_topic(stack.kafka.topic_prefix, space.application_id)
            producer.produce(name, value, headers=[("traceparent", parent.encode())])
            assert 0 == await asyncio.to_thread(producer.flush, 60)
        spans = await wait_for(collector, trace_id, 5)

    assert [
        "archive: archive attempts < attempt",
        "archive: archive dispatches < match",
        f"archive: archive events < {CALLER_SPAN}",
        "deliver: attempt < match",
        f"matcher: match < {CALLER_SPAN}",
    ] == show_tree(stack, spans)


async def count_parked(deliver: SingleProcess) -> float:
    """How often a full lane has parked a delivery, by the process' metrics."""
    url = (await deliver.wait_ready())["metrics"]
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        text = await response.text()
    (line,) = [line for line in text.splitlines() if line.startswith('hookline_parked_total{reason="lane_full"}')]
    return float(line.split()[-1])


async def write_traced(stack: Stack, key: str, value: bytes, parent: str) -> None:
    """Write a record of the events topic, as a producer that traces."""
    producer = LogProducer(stack.kafka, Metrics("gateway"))
    await producer.send_bytes([(stack.topics.events, key.encode(), value, (("traceparent", parent.encode()),))])
    await producer.close()


async def test_each_event_of_a_batch_is_in_the_trace_of_its_request(stack: Stack, collector: Collector) -> None:
    """One span for the request of three events; below it three matches, each with its attempt."""
    trace_id, parent = make_trace()
    async with Receiver() as receiver:
        space = await stack.api.make_space(TYPE)
        await stack.api.subscribe(space, receiver.url("/a"), TYPE)
        events = [describe_event(space.application_id, TYPE) for _ in range(3)]
        for event in events:
            del event["application_id"]
        body = {"application_id": space.application_id, "events": events}
        reply = await stack.api.call("POST", "/events", body, headers=make_headers(space, parent))
        expected = list_expected(root=CALLER_SPAN, attempts=1, route="/api/v1/events", events=3)
        spans = await wait_for(collector, trace_id, len(expected))
    matched = {span.attributes["hookline.event_id"] for span in spans if span.name == "match"}

    assert [201] * 3 == [result["status"] for result in reply.json["results"]], reply.text
    assert expected == show_tree(stack, spans)
    assert {event["event_id"] for event in events} == matched


@pytest.mark.parametrize("mode", ["structured", "binary", "batch"])
async def test_cloud_events_are_in_the_trace_of_their_request(stack: Stack, collector: Collector, mode: str) -> None:
    """Every mode of CloudEvents continues the context of the request that brought it."""
    trace_id, parent = make_trace()
    attributes = {"specversion": "1.0", "id": "7", "source": "/billing", "type": TYPE}
    cloud_event = attributes | {"all": "yes", "data": {"n": 1}}
    content_type, body = {
        "structured": ("application/cloudevents+json", cloud_event),
        "binary": ("application/json", {"n": 1}),
        "batch": ("application/cloudevents-batch+json", [cloud_event, cloud_event | {"id": "8"}]),
    }[mode]
    async with Receiver() as receiver:
        space = await stack.api.make_space(TYPE)
        await stack.api.subscribe(space, receiver.url("/a"), TYPE)
        headers = make_headers(space, parent, content_type)
        if mode == "binary":
            headers |= {f"ce-{name}": value for name, value in attributes.items()} | {"ce-all": "yes"}
        path = f"/cloudevents?application_id={space.application_id}"
        reply = await stack.api.call("POST", path, body, headers=headers)
        count = 2 if mode == "batch" else 1
        expected = list_expected(root=CALLER_SPAN, attempts=1, route="/api/v1/cloudevents", events=count)
        spans = await wait_for(collector, trace_id, len(expected))

    assert reply.status in {200, 201}, reply.text
    assert expected == show_tree(stack, spans)


async def test_a_parked_delivery_keeps_its_trace(stack: Stack, collector: Collector) -> None:
    """Deliveries that waited in a retry topic for room in their lane have their attempts below their matches."""
    trace_id, parent = make_trace()
    count = 40
    async with Receiver() as receiver:
        receiver.script("/slow", Slow(delay_ms=20))
        space = await stack.api.make_space(TYPE, OTHER_TYPE)
        await stack.api.subscribe(space, receiver.url("/slow"), TYPE)
        await stack.api.subscribe(space, receiver.url("/other"), OTHER_TYPE)
        events = [describe_event(space.application_id, TYPE) for _ in range(count)]
        events += [describe_event(space.application_id, OTHER_TYPE)]
        for event in events:
            del event["application_id"]
        body = {"application_id": space.application_id, "events": events}
        await stack.api.call("POST", "/events", body, headers=make_headers(space, parent))
        expected = list_expected(root=CALLER_SPAN, attempts=1, route="/api/v1/events", events=count + 1)
        spans = await wait_for(collector, trace_id, len(expected))

    (deliver,) = stack.processes["deliver"]
    assert await count_parked(deliver) > 0
    assert expected == show_tree(stack, spans)


async def test_a_refused_event_continues_its_trace_when_it_is_redriven(stack: Stack, collector: Collector) -> None:
    """The dead letter of an unknown type is below the match that refused it, and so is the match after its redrive."""
    trace_id, parent = make_trace()
    async with Receiver() as receiver:
        space = await stack.api.make_space()
        value = json.dumps(describe_event(space.application_id, TYPE)).encode()
        await write_traced(stack, space.application_id, value, parent)
        refused = [
            "archive: archive dead < match",
            f"archive: archive events < {CALLER_SPAN}",
            f"matcher: match < {CALLER_SPAN}",
        ]
        before = show_tree(stack, await wait_for(collector, trace_id, len(refused)))
        await stack.api.call("POST", "/event_types", describe_type(space.application_id, TYPE))
        await stack.api.subscribe(space, receiver.url("/a"), TYPE)
        redriven = await redrive_all(stack, space)
        expected = sorted(
            [
                *refused,
                "archive: archive attempts < attempt",
                "archive: archive dispatches < match",
                "archive: archive events < match",
                "deliver: attempt < match",
                "matcher: match < match",
            ]
        )
        spans = await wait_for(collector, trace_id, len(expected))

    assert refused == before
    assert 1 == redriven
    assert expected == show_tree(stack, spans)


async def test_an_unreadable_record_keeps_its_producers_trace(stack: Stack, collector: Collector) -> None:
    """A record that is no event has no match: its dead letter is below the span of its producer."""
    trace_id, parent = make_trace()
    await write_traced(stack, str(uuid4()), b"{", parent)
    spans = await wait_for(collector, trace_id, 2)

    assert [
        f"archive: archive dead < {CALLER_SPAN}",
        f"archive: archive events < {CALLER_SPAN}",
    ] == show_tree(stack, spans)


async def test_a_redriven_delivery_continues_its_trace(stack: Stack, collector: Collector) -> None:
    """The attempt after a redrive is below the same match as the attempts before it."""
    trace_id, parent = make_trace()
    async with Receiver() as receiver:
        receiver.script("/a", Status(500))
        space = await stack.api.make_space(TYPE)
        await stack.api.subscribe(space, receiver.url("/a"), TYPE, delivery={"retry_delays_s": [0.1]})
        event = describe_event(space.application_id, TYPE)
        await stack.api.call("POST", "/event", event, headers=make_headers(space, parent))
        given_up = sorted([*list_expected(root=CALLER_SPAN, attempts=2), "archive: archive dead < match"])
        before = show_tree(stack, await wait_for(collector, trace_id, len(given_up)))
        receiver.script("/a", Ok())
        redriven = await redrive_all(stack, space)
        expected = sorted([*list_expected(root=CALLER_SPAN, attempts=3), "archive: archive dead < match"])
        spans = await wait_for(collector, trace_id, len(expected))
    numbers = sorted(span.attributes["hookline.attempt_number"] for span in spans if span.name == "attempt")

    assert given_up == before
    assert 1 == redriven
    assert expected == show_tree(stack, spans)
    assert [1, 2, 3] == numbers


async def redrive_all(stack: Stack, space: Space) -> int:
    """Send the application's only dead letter again once the archive has it; how many were sent."""

    async def is_archived() -> bool:
        reply = await stack.api.call("GET", f"/dead_letters?application_id={space.application_id}")
        return len(reply.json) == 1

    await eventually(is_archived, timeout_s=WAIT_S)
    body = {"application_id": space.application_id}
    reply = await stack.api.call("POST", "/dead_letters/redrive", body, token=space.secret)
    redriven: int = reply.json["redriven"]
    return redriven


async def test_a_replay_is_a_trace_of_its_own_and_log_lines_name_it(stack: Stack, collector: Collector) -> None:
    """A replay belongs to the request that asked for it, and so does what the gateway logs meanwhile."""
    trace_id, parent = make_trace()
    async with Receiver() as receiver:
        space = await stack.api.make_space(TYPE)
        await stack.api.subscribe(space, receiver.url("/a"), TYPE)
        event_id = await stack.api.send(space, TYPE)
        reply = await stack.api.call(
            "POST",
            f"/events/{event_id}/replay",
            {"application_id": space.application_id},
            headers={
                "Authorization": f"Bearer {space.secret}",
                "Content-Type": "application/json",
                "traceparent": parent,
            },
        )
        await eventually(lambda: any(each.name == "attempt" for each in collector.of(trace_id)), timeout_s=WAIT_S)
    (gateway,) = stack.processes["gateway"]
    (line,) = [line for line in gateway.log().splitlines() if "event_replayed" in line and event_id in line]

    assert 204 == reply.status, reply.text
    assert f"trace_id={trace_id}" in line


async def test_the_last_spans_are_exported_at_the_end(
    kafka: str, postgres: str, migrated_template: str, collector: Collector
) -> None:
    """A process that is stopped hands over what it has, and one whose collector is away ends in time."""
    variables = collector.variables | {"OTEL_BSP_SCHEDULE_DELAY": "600000"}
    settings = {"TRACING_ENABLED": "true"}
    async with run_stack(kafka, postgres, migrated_template, "gateway", **variables, **settings) as stack:
        space = await stack.api.make_space(TYPE)
        event_id = await stack.api.send(space, TYPE)
        before = [each for each in collector.spans if each.attributes.get("hookline.event_id") == event_id]
        (gateway,) = stack.processes["gateway"]
        code = await gateway.stop()
    after = [each for each in collector.spans if each.attributes.get("hookline.event_id") == event_id]
    nowhere = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    async with run_stack(kafka, postgres, migrated_template, "gateway", **nowhere, **settings) as stack:
        space = await stack.api.make_space(TYPE)
        await stack.api.send(space, TYPE)
        (gateway,) = stack.processes["gateway"]
        away = await gateway.stop()

    assert ([], 0, 1, 0) == (before, code, len(after), away)
