"""`POST /events`: 1 to 1,000 events of one application, each with a result of its own, one wait for all of them.

The checks of a single event apply to each; what is wrong with one is no matter of the others. With an `Idempotency-Key`
events without an id get ids that follow from the key and their place, so that a batch can be sent again as it is.
"""

from typing import Any
from uuid import UUID, uuid5

import msgspec
from aiohttp import web
from uuid_utils import uuid7

from pipeline.core.records import Event, to_bytes
from pipeline.gateway.answers import answer_json
from pipeline.gateway.auth import authorize
from pipeline.gateway.bodies import Form, decode_form, read_form
from pipeline.gateway.client_address import find_client_address
from pipeline.gateway.context import GATEWAY, Gateway
from pipeline.gateway.headers import read_header
from pipeline.gateway.ingest import EventContent, make_event, refuse_loop, require_event_type
from pipeline.gateway.problems import Problem, show_problem
from pipeline.gateway.reads.moments import show_moment
from pipeline.gateway.validation import Findings
from pipeline.kafka.producer import KafkaUnavailableError

EVENTS_MAX = 1000
KEY_MAX_CHARS = 255

Result = dict[str, Any]


class BatchForm(Form, frozen=True):
    """The body."""

    application_id: UUID
    events: list[msgspec.Raw]


_decoder = msgspec.json.Decoder(BatchForm)
_content_decoder = msgspec.json.Decoder(EventContent)


def list_routes() -> list[web.RouteDef]:
    return [web.post("/events", ingest_events)]


async def ingest_events(request: web.Request) -> web.Response:
    """Accept a batch. 200 with a result per event, in their order: `status` 201, or what a single event would get."""
    gateway, caller = request.app[GATEWAY], await authorize(request)
    form = await read_form(request, _decoder)
    refuse_loop(request)
    application_id = str(form.application_id)
    await caller.require_application(application_id)
    key = read_header(request, "Idempotency-Key")
    findings = Findings()
    if not 1 <= len(form.events) <= EVENTS_MAX:
        findings.add("events", "events-size", f"there must be 1 to {EVENTS_MAX} events", min=1, max=EVENTS_MAX)
    if key is not None:
        findings.check_text("Idempotency-Key", key, most=KEY_MAX_CHARS)
    findings.raise_if_any()
    ip = find_client_address(request)
    results: list[Result] = [{}] * len(form.events)
    events: dict[int, tuple[Event, bool]] = {}  # by place, with: can its id have been sent before?
    known_types: set[str] = set()
    for index, raw in enumerate(form.events):
        try:
            event, is_new_id = _read(gateway, application_id, raw, index, key=key, ip=ip)
            if event.event_type not in known_types:
                await require_event_type(gateway, application_id, event.event_type)
                known_types.add(event.event_type)
            events[index] = (event, not is_new_id)
        except Problem as problem:
            results[index] = _show_problem(gateway, problem)
    await _accept(gateway, events, results, is_repeatable=key is not None)
    return answer_json({"application_id": application_id, "results": results})


async def _accept(
    gateway: Gateway, events: dict[int, tuple[Event, bool]], results: list[Result], *, is_repeatable: bool
) -> None:
    """Write the events that are new, and set their results."""
    to_claim = {index: event for index, (event, may_repeat) in events.items() if may_repeat}
    keys = [(event.application_id, event.event_id) for event in to_claim.values()]
    claims = dict(zip(to_claim, await gateway.event_ids.claim_all(keys), strict=True)) if keys else {}
    new = {index: event for index, (event, _) in events.items() if claims.get(index, True)}
    for index in events.keys() - new.keys():
        results[index] = _show_repeated(gateway, events[index][0], is_repeatable=is_repeatable)
    error: Problem | None = None
    try:
        topic = gateway.topics.events
        await gateway.producer.send_bytes(
            [(topic, event.application_id.encode(), to_bytes(event)) for event in new.values()]
        )
    except KafkaUnavailableError:
        detail = "Kafka did not acknowledge the event in time. Send it again under the same `event_id`."
        error = Problem("ServiceUnavailable", detail=detail)
    finally:
        for index, event in new.items():
            if index in claims:
                gateway.event_ids.settle((event.application_id, event.event_id), accepted=error is None)
    if error is not None and len(new) == len(events):
        raise error
    for index, event in new.items():
        results[index] = _show_problem(gateway, error, event.event_id) if error is not None else _show_accepted(event)
    if error is None:
        gateway.metrics.events_ingested_total.inc(len(new))


def _read(
    gateway: Gateway, application_id: str, raw: msgspec.Raw, index: int, *, key: str | None, ip: str | None
) -> tuple[Event, bool]:
    """The event, and whether we made its id just now."""
    content = decode_form(raw, _content_decoder, what="event")
    if content.event_id is not None:
        event_id, is_new_id = str(content.event_id), False
    elif key is not None:
        event_id, is_new_id = str(uuid5(UUID(application_id), f"{key}/{index}")), False
    else:
        event_id, is_new_id = str(uuid7()), True
    return make_event(gateway, application_id, content, event_id=event_id, ip=ip), is_new_id


def _show_accepted(event: Event) -> Result:
    return {"status": 201, "event_id": event.event_id, "received_at": show_moment(event.received_at_us)}


def _show_repeated(gateway: Gateway, event: Event, *, is_repeatable: bool) -> Result:
    if is_repeatable:
        # the same batch again, as its key says: what was accepted then is accepted
        return {"status": 201, "event_id": event.event_id, "repeated": True}
    return _show_problem(gateway, Problem("EventAlreadyIngested"), event.event_id)


def _show_problem(gateway: Gateway, problem: Problem, event_id: str | None = None) -> Result:
    gateway.metrics.events_refused_total.labels(problem.kind.id).inc()
    shown = show_problem(problem.kind, problem.detail, problem.status, problem.validation)
    return {"status": problem.status, "event_id": event_id, "problem": shown}
