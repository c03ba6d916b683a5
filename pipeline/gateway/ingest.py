"""`POST /event`: an event is checked, written to Kafka, and accepted once every in-sync replica has it.

The checks come in a fixed order that clients rely on: token, form of the body, rights, fields, content type, payload,
then whether the id is new and the type exists.
"""

import base64
import binascii
from typing import NotRequired, TypedDict
from uuid import UUID

import msgspec
import orjson
from aiohttp import web
from uuid_utils import uuid7

from pipeline.core.events.content_types import (
    BINARY_TYPE,
    CONTENT_TYPES,
    JSON_TYPE,
)
from pipeline.core.events.fingerprint import fingerprint
from pipeline.core.events.json_text import find_json_problem
from pipeline.core.events.loop_detection import HOP_HEADER, find_hop_problem
from pipeline.core.events.moments import Moment, decode_moment, show_moment
from pipeline.core.events.names import LABELS_MAX, METADATA_MAX
from pipeline.core.events.records import Event
from pipeline.core.log.checksum import sum_content
from pipeline.core.routing.routes import AppliedRoutes
from pipeline.gateway.answers import Id, Time
from pipeline.gateway.auth import Caller, authorize
from pipeline.gateway.bodies import Form, read_form
from pipeline.gateway.client_address import find_client_address
from pipeline.gateway.context import GATEWAY, Gateway, find_tenant
from pipeline.gateway.event_ids import Claim
from pipeline.gateway.operations import Operation
from pipeline.gateway.problems import Problem
from pipeline.gateway.validation import Findings
from pipeline.kafka.producer import KafkaUnavailableError, RecordRefusedError, TopicRefusedError


class EventContent(Form, frozen=True, kw_only=True):
    """An event, without whose it is."""

    event_type: str
    payload: str
    payload_content_type: str
    occurred_at: Moment
    labels: dict[str, str]
    event_id: UUID | None = None
    metadata: dict[str, str] | None = None


class EventForm(EventContent, frozen=True, kw_only=True):
    """The body."""

    application_id: UUID


_decoder = msgspec.json.Decoder(EventForm, dec_hook=decode_moment)
decode_event_form = _decoder.decode
PATH = "/event"
EVENT_BYTES = 512  # an event besides its payload, about
TOO_MANY = "Too many events wait for Kafka's acknowledgement at this moment."
PAYLOAD_REFUSALS = ("EventInvalidPayloadContentType", "EventInvalidJsonPayload", "EventInvalidBase64Payload")


class EventAccepted(TypedDict):
    """The event is in the log. `warning`: how its payload does not fit a schema that only warns."""

    application_id: Id
    event_id: Id
    received_at: Time
    warning: NotRequired[str]


def show_accepted(event: Event, warning: str | None) -> EventAccepted:
    """The answer."""
    shown: EventAccepted = {
        "application_id": event.application_id,
        "event_id": event.event_id,
        "received_at": show_moment(event.received_at_us),
    }
    if warning is not None:
        shown["warning"] = warning
    return shown


def list_routes() -> list[Operation]:
    return [
        Operation(
            "POST",
            PATH,
            ingest_event,
            body=EventForm,
            status=201,
            answer=EventAccepted,
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


async def ingest_event(request: web.Request) -> web.Response:
    """Accept one event. 201 means that it is in the log."""
    gateway = request.app[GATEWAY]
    try:
        caller = await authorize(request)
        form = await read_form(request, _decoder, beside_payload_max_bytes=None)
        refuse_loop(request)
        event = await check_event(gateway, caller, form, ip=find_client_address(request))
        warning = await accept(gateway, event, is_own_id=form.event_id is None)
    except Problem as problem:
        gateway.metrics.events_refused_total.labels(problem.kind.id).inc()
        raise
    return web.Response(body=orjson.dumps(show_accepted(event, warning)), status=201, content_type="application/json")


async def check_event(gateway: Gateway, caller: Caller, form: EventForm, *, ip: str | None) -> Event:
    """The event of a form. Raises `Problem`; whether its id is new and its type exists is not looked at."""
    application_id = str(form.application_id)
    await caller.require_application(application_id)
    has_room = await gateway.usage.find_room(application_id, 1) == 1
    return make_event(gateway, application_id, form, event_id=str(form.event_id or uuid7()), ip=ip, has_room=has_room)


def make_event(
    gateway: Gateway, application_id: str, form: EventContent, *, event_id: str, ip: str | None, has_room: bool = True
) -> Event:
    """The event of a form's content. Raises `Problem`. `has_room`: does the daily quota allow it?"""
    findings = Findings()
    findings.check_event_type("event_type", form.event_type)
    findings.check_length("payload", form.payload, least=0, most=gateway.settings.gateway.payload_max_chars)
    findings.check_pairs("labels", form.labels, least=1, most=LABELS_MAX)
    findings.check_pairs("metadata", form.metadata or {}, least=0, most=METADATA_MAX)
    findings.raise_if_any()
    if not has_room:
        raise Problem("TooManyEventsToday")
    payload = decode_payload(form.payload, form.payload_content_type)
    return Event(
        application_id=application_id,
        event_id=event_id,
        event_type=form.event_type,
        payload=payload,
        payload_content_type=form.payload_content_type,
        labels=form.labels,
        metadata=form.metadata or {},
        occurred_at_us=int(form.occurred_at),
        received_at_us=gateway.clock.now_us(),
        ip=ip,
        content_crc32=sum_content(event_id, form.event_type, form.payload_content_type, payload),
        schema_version=0,
    )


def refuse_loop(request: web.Request) -> None:
    """Check a request for loops. Raises `Problem` when it bears the marks of too many deliveries."""
    if HOP_HEADER not in request.headers:
        return
    problem = find_hop_problem(request.headers.getall(HOP_HEADER))
    if problem is not None:
        findings = Findings()
        findings.add(HOP_HEADER, "loop", problem)
        findings.raise_if_any()


def decode_payload(payload: str, content_type: str) -> bytes:
    """The bytes to deliver: JSON and text verbatim, base64 decoded. Raises `Problem`."""
    if content_type == JSON_TYPE:
        body = payload.encode()
        problem = find_json_problem(body)
        if problem is not None:
            raise Problem("EventInvalidJsonPayload", detail=f"The payload {problem}.")
        return body
    if content_type == BINARY_TYPE:
        try:
            return base64.b64decode(payload, validate=True)
        except (binascii.Error, ValueError) as error:
            raise Problem("EventInvalidBase64Payload", detail=f"The payload is not base64: {error}.") from None
    if content_type not in CONTENT_TYPES:
        raise Problem("EventInvalidPayloadContentType")
    return payload.encode()


async def accept(gateway: Gateway, event: Event, *, is_own_id: bool) -> str | None:
    """Write an event and wait for its acknowledgement. `is_own_id`: we made its id, so it cannot have been sent before.

    Its warning, if its payload does not fit. Raises `Problem`: EventAlreadyIngested, EventTypeDoesNotExist,
    EventPayloadUnfit, or ServiceUnavailable. After the latter it may or may not be written; sent again under the same
    id it counts once.
    """
    tenant = find_tenant(gateway, event.application_id)
    if not gateway.in_flight.has_room(tenant):
        raise Problem("ServiceUnavailable", detail=TOO_MANY)
    size_bytes = len(event.payload) + EVENT_BYTES
    gateway.in_flight.take(tenant, 1, size_bytes)
    try:
        return await _accept_within_share(gateway, event, is_own_id=is_own_id)
    finally:
        gateway.in_flight.give_back(tenant, 1, size_bytes)


async def _accept_within_share(gateway: Gateway, event: Event, *, is_own_id: bool) -> str | None:
    key, content = (event.application_id, event.event_id), fingerprint(event)
    if not is_own_id:
        refuse_known(await gateway.event_ids.claim(key, content))
    accepted = False
    try:
        routes = await require_event_type(gateway, event.application_id, event.event_type)
        event, warning = check_schema(gateway, routes, event)
        headers = None if gateway.tracing is None else gateway.tracing.mark_accepted(event)
        await gateway.producer.send(gateway.topics.events, event.application_id, event, headers=headers)
        accepted = True
    except KafkaUnavailableError as error:
        raise await describe_unwritten(gateway, error) from error
    finally:
        if not is_own_id:
            gateway.event_ids.settle(key, accepted=accepted)
    if is_own_id:
        # it may come again under the id that is answered now
        gateway.event_ids.remember(key, content)
    gateway.usage.count(event.application_id)
    gateway.metrics.events_ingested_total.inc()
    return warning


async def accept_operational(gateway: Gateway, event: Event) -> None:
    """Write an event of our own, whose type no application has. Raises `Problem`."""
    try:
        await gateway.producer.send(gateway.topics.events, event.application_id, event)
    except KafkaUnavailableError as error:
        raise await describe_unwritten(gateway, error) from error


def refuse_known(claim: Claim) -> None:
    """Check that an event's id is new. Raises `Problem` if not."""
    match claim:
        case Claim.REPEATED:
            raise Problem("EventAlreadyIngested")
        case Claim.REUSED:
            raise Problem("EventIdReused")
        case Claim.NEW:
            pass


async def describe_unwritten(gateway: Gateway, error: KafkaUnavailableError) -> Problem:
    """The problem for an event that was not written: it says whether sending it again can help.

    It is not when the log takes other events: this one is too large then, else it is the topic that is wrong.
    """
    if isinstance(error, RecordRefusedError) and await gateway.writing.ask(gateway.topics.events):
        return Problem(
            "JsonPayload", detail="The event is larger than the log takes; do not send it again.", status=413
        )
    detail = "Kafka did not acknowledge the event in time. Send it again under the same `event_id`."
    if isinstance(error, RecordRefusedError | TopicRefusedError):
        detail = "The log takes no events at this moment. Send it again later under the same `event_id`."
    return Problem("ServiceUnavailable", detail=detail)


def check_schema(gateway: Gateway, routes: AppliedRoutes, event: Event) -> tuple[Event, str | None]:
    """The event, marked as checked, and its warning if it does not fit. Raises `Problem` when it is refused."""
    applied = routes.find_schema(event.event_type)
    if applied is None:
        return event, None
    problem = applied.schema.find_problem(event.payload, event.payload_content_type)
    warning = None
    if problem is not None:
        warning = f"The payload {problem} (version {applied.version} of the schema of {event.event_type})."
        gateway.metrics.schema_misfits_total.labels("refuse" if applied.refuses else "warn").inc()
        if applied.refuses:
            raise Problem("EventPayloadUnfit", detail=warning)
    return msgspec.structs.replace(event, schema_version=applied.version), warning


async def require_event_type(gateway: Gateway, application_id: str, event_type: str) -> AppliedRoutes:
    """The application's routes. Raises `Problem` unless it has this event type."""
    for is_last in (False, True):
        routes = gateway.routes.current(application_id)
        if routes is not None and routes.has_type(event_type):
            return routes
        if not is_last:
            # another gateway may have created it a moment ago
            await gateway.tokens.catch_up(application_id)
    detail = f"The application has no event type {event_type!r}; create it with `POST /event_types`."
    raise Problem("EventTypeDoesNotExist", detail=detail)
