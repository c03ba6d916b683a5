"""A collector of spans that speaks OTLP over HTTP, for tests: decodes what exporters really send."""

from dataclasses import dataclass
from typing import Any

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedSpan:
    """`service`: the process that made it. Ids are hexadecimal; `parent_id` is empty for a root."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    took_ns: int
    attributes: dict[str, Any]


class Collector:
    """An async context manager. `variables`: what sends a process' spans here."""

    def __init__(self) -> None:
        self.spans: list[ReceivedSpan] = []

    async def __aenter__(self) -> "Collector":
        app = web.Application()
        app.router.add_post("/v1/traces", self._take)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, HOST, 0).start()
        url = f"http://{HOST}:{self._runner.addresses[0][1]}"
        self.variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_BSP_SCHEDULE_DELAY": "100"}
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    def of(self, trace_id: str) -> list[ReceivedSpan]:
        """The spans of one trace, in the order they came."""
        return [span for span in self.spans if span.trace_id == trace_id]

    async def _take(self, request: web.Request) -> web.Response:
        batch = ExportTraceServiceRequest.FromString(await request.read())
        for group in batch.resource_spans:
            service = _read_attributes(group.resource.attributes)["service.name"]
            self.spans += [_read(service, span) for scope in group.scope_spans for span in scope.spans]
        answer = ExportTraceServiceResponse().SerializeToString()
        return web.Response(body=answer, content_type="application/x-protobuf")


def _read(service: str, span: Any) -> ReceivedSpan:
    return ReceivedSpan(
        service=service,
        name=span.name,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        took_ns=span.end_time_unix_nano - span.start_time_unix_nano,
        attributes=_read_attributes(span.attributes),
    )


def _read_attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}
