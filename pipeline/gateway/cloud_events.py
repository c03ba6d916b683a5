"""`POST /cloudevents`: CloudEvents 1.0 over HTTP, in the structured, the binary and the batch mode."""

import base64
from functools import partial
from typing import Any, Literal
from uuid import UUID

import msgspec
from aiohttp import web

from pipeline.core.events.cloud_events import (
    BATCH_TYPE,
    HEADER_PREFIX,
    STRUCTURED_TYPE,
    CloudEvent,
    CloudEventError,
    parse_binary,
    parse_structured,
)
from pipeline.core.events.content_types import BINARY_TYPE
from pipeline.core.events.json_text import find_json_problem
from pipeline.core.events.moments import Moment
from pipeline.core.events.text import find_text_problem
from pipeline.gateway.answers import answer_json
from pipeline.gateway.auth import authorize
from pipeline.gateway.batch_ingest import BatchShown, Unreadable, accept_contents, read_each
from pipeline.gateway.batch_items import list_items
from pipeline.gateway.bodies import read_body
from pipeline.gateway.client_address import find_client_address
from pipeline.gateway.context import GATEWAY
from pipeline.gateway.ingest import (
    PAYLOAD_REFUSALS,
    EventAccepted,
    EventContent,
    accept,
    make_event,
    refuse_loop,
    show_accepted,
)
from pipeline.gateway.operations import Operation
from pipeline.gateway.problems import Problem
from pipeline.gateway.reads.queries import APPLICATION_ID, take_application_id


class CloudEventForm(msgspec.Struct, frozen=True):
    """A CloudEvent in the structured mode; further members are extension attributes."""

    specversion: Literal["1.0"]
    id: str
    source: str
    type: str
    time: str | None = None
    subject: str | None = None
    datacontenttype: str | None = None
    dataschema: str | None = None
    data: Any = None
    data_base64: str | None = None


def list_routes() -> list[Operation]:
    return [
        Operation(
            "POST",
            "/cloudevents",
            ingest_cloud_events,
            query=(APPLICATION_ID,),
            body=CloudEventForm | list[CloudEventForm],
            body_types=(STRUCTURED_TYPE, BATCH_TYPE),
            status=201,
            answer=EventAccepted,
            other_answers=((200, BatchShown),),
            problems=(
                *PAYLOAD_REFUSALS,
                "EventTypeDoesNotExist",
                "EventPayloadUnfit",
                "EventAlreadyIngested",
                "EventIdReused",
                "TooManyEventsToday",
            ),
        ),
    ]


async def ingest_cloud_events(request: web.Request) -> web.Response:
    """Accept a CloudEvent (201), or a batch of them (200, a result for each in their order). In the log, both mean.

    In the binary mode the body is the payload, whatever its type, and attributes are headers that begin with `ce-`.
    """
    gateway, caller = request.app[GATEWAY], await authorize(request)
    application_id = take_application_id(request)
    body = await read_body(request)
    refuse_loop(request)
    await caller.require_application(application_id)
    ip = find_client_address(request)
    if request.content_type == BATCH_TYPE:
        contents = await read_each(_split(body), partial(_read_item, now_us=gateway.clock.now_us()))
        results = await accept_contents(gateway, application_id, contents, ip=ip)
        batch: BatchShown = {"application_id": application_id, "results": results}
        return answer_json(batch)
    content = _read_one(request, body, now_us=gateway.clock.now_us())
    has_room = await gateway.usage.find_room(application_id, 1) == 1
    event = make_event(gateway, application_id, content, event_id=str(content.event_id), ip=ip, has_room=has_room)
    return answer_json(show_accepted(event, await accept(gateway, event, is_own_id=False)), status=201)


def _read_one(request: web.Request, body: bytes, *, now_us: int) -> EventContent:
    """Read one CloudEvent in either mode. Raises `Problem`."""
    try:
        if request.content_type == STRUCTURED_TYPE:
            _require_json(body)
            return _to_content(parse_structured(body), now_us=now_us)
        headers = {name.lower(): value for name, value in request.headers.items()}
        if f"{HEADER_PREFIX}specversion" not in headers:
            raise CloudEventError(f"is neither of the type {STRUCTURED_TYPE} nor has a header `ce-specversion`")
        for name, value in headers.items():
            problem = find_text_problem(value) if name.startswith(HEADER_PREFIX) else None
            if problem is not None:
                raise CloudEventError(f"has a header `{name}` that {problem}")
        return _to_content(parse_binary(headers, body, request.headers.get("Content-Type", BINARY_TYPE)), now_us=now_us)
    except CloudEventError as error:
        raise Problem("JsonPayload", detail=f"The request is no CloudEvent: it {error}.") from None


def _split(body: bytes) -> list[msgspec.Raw]:
    _require_json(body)
    return list_items(body)


def _read_item(raw: msgspec.Raw, *, now_us: int) -> EventContent | Unreadable:
    try:
        return _to_content(parse_structured(raw), now_us=now_us)
    except CloudEventError as error:
        return Unreadable(raw, Problem("JsonPayload", detail=f"It is no CloudEvent: it {error}."))


def _require_json(body: bytes) -> None:
    problem = find_json_problem(body)
    if problem is not None:
        raise Problem("JsonPayload", detail=f"The body {problem}.")


def _to_content(event: CloudEvent, *, now_us: int) -> EventContent:
    """Convert a CloudEvent as if it had come by `POST /event`: the same rules hold."""
    is_binary = event.payload_content_type == BINARY_TYPE
    return EventContent(
        event_type=event.event_type,
        payload=base64.b64encode(event.payload).decode() if is_binary else event.payload.decode(),
        payload_content_type=event.payload_content_type,
        occurred_at=Moment(event.occurred_at_us if event.occurred_at_us is not None else now_us),
        labels=event.labels,
        event_id=UUID(event.event_id),
    )
