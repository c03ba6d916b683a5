"""One trace shows an event's whole way: real processes export to a collector that decodes OTLP."""

import json
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
import pytest_asyncio

from pipeline.kafka.producer import LogProducer
from pipeline.metrics import Metrics
from tests.support.api import describe_event
from tests.support.eventually import eventually
from tests.support.otlp import Collector, ReceivedSpan
from tests.support.receiver import FailTimes, Ok, Receiver
from tests.support.stack import Stack, run_stack

TYPE = "billing.invoice.paid"
CALLER_SPAN = "00f067aa0ba902b7"
ROUTE = "/api/v1/event"
WAIT_S = 60
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def collector() -> AsyncIterator[Collector]:
    async with Collector() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(kafka: str, postgres: str, migrated_template: str, collector: Collector) -> AsyncIterator[Stack]:
    names = ("gateway", "matcher", "deliver", "archive")
    settings = {"TRACING_ENABLED": "true", "TRACING_TO_RECEIVERS": "true"}
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


def list_expected(*, root: str, attempts: int) -> list[str]:
    """The tree of an event that one subscription selects."""
    return sorted(
        [
            f"gateway: POST {ROUTE} < {root}",
            f"archive: archive events < POST {ROUTE}",
            f"matcher: match < POST {ROUTE}",
            "archive: archive dispatches < match",
            *["deliver: attempt < match", "archive: archive attempts < attempt"] * attempts,
        ]
    )


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


async def test_a_producers_context_is_continued(stack: Stack, collector: Collector) -> None:
    """An event that was written into Kafka with `traceparent` belongs to its writer's trace."""
    trace_id, parent = make_trace()
    async with Receiver() as receiver:
        space = await stack.api.make_space(TYPE)
        await stack.api.subscribe(space, receiver.url("/a"), TYPE)
        value = json.dumps(describe_event(space.application_id, TYPE)).encode()
        producer = LogProducer(stack.kafka, Metrics("gateway"))
        record = (stack.topics.events, space.application_id.encode(), value, (("traceparent", parent.encode()),))
        await producer.send_bytes([record])
        await producer.close()
        spans = await wait_for(collector, trace_id, 5)

    assert [
        "archive: archive attempts < attempt",
        "archive: archive dispatches < match",
        f"archive: archive events < {CALLER_SPAN}",
        "deliver: attempt < match",
        f"matcher: match < {CALLER_SPAN}",
    ] == show_tree(stack, spans)


async def test_a_replay_is_a_trace_of_its_own_and_log_lines_name_it(stack: Stack, collector: Collector) -> None:
    """What is sent again belongs to the request that asked for it, and so does what the gateway logs meanwhile."""
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
