"""Spans of what happens to an event, exported by OTLP: the only user of OpenTelemetry, loaded while tracing is on.

An event's spans are one trace over all processes: ingest (gateway) → match (matcher) → attempts (deliver), each with
what the archive wrote of it below. The context travels in the headers of Kafka's records. Exporter, sampler, limits
and resource are set by the standard variables (`OTEL_*`), which OpenTelemetry reads itself.
"""

import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import Any, Protocol

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from pipeline.core.events.records import Attempt, Delivery, Event
from pipeline.core.trace_context import TRACEPARENT, TRACESTATE, TraceHeaders, make_headers, show_parent

CLOSE_WITHIN_S = 2.0  # for the last spans: less than a process has for its end
HTTP_SERVER_ERROR = 500
_propagator = TraceContextTextMapPropagator()


class Origin(Protocol):
    """Where a request goes to. The URL is not shown: a secret may stand in it."""

    @property
    def host(self) -> str: ...

    @property
    def port(self) -> int: ...


# Describes what an attempt came to; the headers of its record.
DescribeAttempt = Callable[[Attempt, Origin | None], TraceHeaders | None]


class Tracing:
    """One process'. `to_receivers`: are requests to receivers to have `traceparent`?"""

    def __init__(self, provider: TracerProvider, *, to_receivers: bool) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("hookline")
        self.to_receivers = to_receivers

    @contextmanager
    def serve(self, route: str, method: str, parent: TraceHeaders | None) -> Iterator[Span]:
        """A request to the gateway, while it is served."""
        attributes = {"http.request.method": method, "http.route": route}
        with self._span(f"{method} {route}", SpanKind.SERVER, parent, attributes) as span:
            yield span

    def end_serving(self, span: Span, status: int) -> None:
        """End a request's span with the status of its answer."""
        span.set_attribute("http.response.status_code", status)
        if status >= HTTP_SERVER_ERROR:
            span.set_status(Status(StatusCode.ERROR))

    def mark_accepted(self, event: Event) -> TraceHeaders | None:
        """An event is about to be written, within a request: the headers of its record."""
        trace.get_current_span().set_attributes(_describe_event(event))
        return self.headers()

    @contextmanager
    def match(self, event: Event, parent: TraceHeaders | None) -> Iterator[TraceHeaders | None]:
        """One event, while it is matched; the headers of what it leads to. The span is not made the current one."""
        span = self._tracer.start_span(
            "match", context=_read(parent), kind=SpanKind.CONSUMER, attributes=_describe_event(event)
        )
        try:
            yield _write(trace.set_span_in_context(span, Context()))
        finally:
            span.end()

    @contextmanager
    def attempt(self, delivery: Delivery, parent: TraceHeaders | None) -> Iterator[DescribeAttempt]:
        """One attempt, until its outcome is handed over to be written."""

        def describe(attempt: Attempt, origin: Origin | None) -> TraceHeaders | None:
            self._describe_outcome(span, attempt, origin)
            return self.headers()

        with self._span("attempt", SpanKind.CLIENT, parent, _describe_delivery(delivery)) as span:
            yield describe

    def _describe_outcome(self, span: Span, attempt: Attempt, origin: Origin | None) -> None:
        span.set_attributes({"http.request.method": attempt.request_method, "hookline.outcome": attempt.outcome})
        if origin is not None:
            span.set_attributes({"server.address": origin.host, "server.port": origin.port})
        if attempt.response_status is not None:
            span.set_attribute("http.response.status_code", attempt.response_status)
        if attempt.error_class is not None:
            span.set_attribute("error.type", attempt.error_class)
            span.set_status(Status(StatusCode.ERROR, attempt.error_detail))
        if attempt.next_due_at_us is not None:
            span.add_event("retry", {"hookline.due_at_us": attempt.next_due_at_us})

    def archived(self, topic: str, parent: TraceHeaders, *, begun_ns: int, ended_ns: int) -> None:
        """A record was written into the archive, in a transaction that took from `begun_ns` to `ended_ns`."""
        span = self._tracer.start_span(
            f"archive {topic}",
            context=_read(parent),
            kind=SpanKind.CONSUMER,
            attributes={"messaging.system": "kafka", "messaging.destination.name": topic},
            start_time=begun_ns,
        )
        span.end(ended_ns)

    def headers(self) -> TraceHeaders | None:
        """The current span as the headers of a record that it writes."""
        return _write(None)

    def show_parent(self) -> str | None:
        """The current span as a value of `traceparent`."""
        headers = self.headers()
        return None if headers is None else show_parent(headers)

    def close(self) -> None:
        """Export what is left, for a bounded time: a collector that is away must not delay the end of a process."""
        # a daemon: what hangs in it does not keep the process
        closing = threading.Thread(target=self._provider.shutdown, name="tracing-close", daemon=True)
        closing.start()
        closing.join(CLOSE_WITHIN_S)

    @contextmanager
    def _span(
        self, name: str, kind: SpanKind, parent: TraceHeaders | None, attributes: Mapping[str, Any]
    ) -> Iterator[Span]:
        with self._tracer.start_as_current_span(name, context=_read(parent), kind=kind, attributes=attributes) as span:
            yield span


def start_tracing(process: str, *, to_receivers: bool) -> Tracing:
    """Spans of `process`, exported in batches by a thread of their own."""
    # Attributes of the environment come last, so that they win.
    own = Resource(
        {"service.name": f"hookline-{process}", "service.instance.id": f"{socket.gethostname()}:{os.getpid()}"}
    )
    resource = Resource.create().merge(own).merge(OTELResourceDetector().detect())
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Tracing(provider, to_receivers=to_receivers)


def add_trace_ids(_: Any, __: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Add the ids of the current span to a line, for structlog."""
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        line["trace_id"] = trace.format_trace_id(context.trace_id)
        line["span_id"] = trace.format_span_id(context.span_id)
    return line


def _read(headers: TraceHeaders | None) -> Context:
    """A context of its own: never the current one."""
    return _propagator.extract({name: value.decode() for name, value in headers or ()}, context=Context())


def _write(context: Context | None) -> TraceHeaders | None:
    """`context`: None: the current one. None where OpenTelemetry is disabled by its own variable."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier, context)
    return make_headers(carrier.get(TRACEPARENT), carrier.get(TRACESTATE))


def _describe_event(event: Event) -> dict[str, str]:
    return {
        "hookline.application_id": event.application_id,
        "hookline.event_id": event.event_id,
        "hookline.event_type": event.event_type,
    }


def _describe_delivery(delivery: Delivery) -> dict[str, str | int]:
    return {
        "hookline.application_id": delivery.application_id,
        "hookline.event_id": delivery.event_id,
        "hookline.event_type": delivery.event_type,
        "hookline.delivery_id": delivery.delivery_id,
        "hookline.subscription_id": delivery.subscription_id,
        "hookline.attempt_number": delivery.attempt_number,
    }
