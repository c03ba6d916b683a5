"""`POST /events`: 1 to 1,000 events of one application, with a result each and one wait for all of them.

The checks of a single event apply to each; a refused one does not affect the others. With an `Idempotency-Key`
events without an id get ids that follow from the key and their place, so that a batch can be sent again as it is.
"""

import asyncio
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, NamedTuple, TypedDict
from uuid import UUID

import msgspec
from aiohttp import web
from uuid_utils import uuid7

from pipeline.core.events.fingerprint import fingerprint
from pipeline.core.events.moments import decode_moment, show_moment
from pipeline.core.events.records import Event, to_bytes
from pipeline.core.routing.routes import AppliedRoutes
from pipeline.gateway.answers import Id, answer_json
from pipeline.gateway.auth import authorize
from pipeline.gateway.batch_items import ItemList, list_items
from pipeline.gateway.bodies import Form, decode_form, read_form
from pipeline.gateway.client_address import find_client_address
from pipeline.gateway.context import GATEWAY, Gateway, find_tenant
from pipeline.gateway.event_ids import Claim
from pipeline.gateway.headers import read_header
from pipeline.gateway.id_lookups import EventKey
from pipeline.gateway.idempotency import KeyedBatch, derive_event_id
from pipeline.gateway.ingest import (
    EVENT_BYTES,
    TOO_MANY,
    EventContent,
    check_schema,
    describe_unwritten,
    make_event,
    refuse_loop,
    require_event_type,
)
from pipeline.gateway.operations import Operation, Parameter
from pipeline.gateway.problems import Problem, show_problem
from pipeline.gateway.validation import Findings
from pipeline.kafka.failures import ToSend, trace
from pipeline.kafka.producer import KafkaUnavailableError, Placement
from pipeline.pauses import Pauses

UNAVAILABLE = 503
KEY_MAX_CHARS = 255
PORTION_EVENTS = 50  # encoded and handed over at once: a millisecond's work
IDEMPOTENCY_KEY = Parameter(
    name="Idempotency-Key",
    schema={"type": "string", "minLength": 1, "maxLength": KEY_MAX_CHARS},
    meaning="Sent again under the same key, the batch counts once.",
)

Result = dict[str, Any]


class BatchForm(Form, frozen=True):
    """The body."""

    application_id: UUID
    events: ItemList


class Origin(Enum):
    """The origin of an event's id."""

    GIVEN = "its sender's"
    KEY = "it follows from the batch's key"
    MADE = "ours, made just now: it cannot have been sent before"


class Candidate(NamedTuple):
    """An event that can be accepted, unless its id is known. `content`: its fingerprint; `warning`: of its schema."""

    event: Event
    origin: Origin
    content: int
    warning: str | None

    @property
    def key(self) -> EventKey:
        return self.event.application_id, self.event.event_id


class Unreadable(NamedTuple):
    """An item of a batch that is no event."""

    raw: msgspec.Raw
    problem: Problem


_decoder = msgspec.json.Decoder(BatchForm)
_content_decoder = msgspec.json.Decoder(EventContent, dec_hook=decode_moment)


class BatchShown(TypedDict):
    """A result for each event, in their order."""

    application_id: Id
    results: list[Result]


def list_routes() -> list[Operation]:
    return [
        Operation(
            "POST",
            "/events",
            ingest_events,
            headers=(IDEMPOTENCY_KEY,),
            body=BatchForm,
            answer=BatchShown,
            problems=("IdempotencyKeyReused",),
        ),
    ]


async def ingest_events(request: web.Request) -> web.Response:
    """Accept a batch. 200 with a result per event, in their order: `status` 201, or what a single event would get."""
    gateway, caller = request.app[GATEWAY], await authorize(request)
    form = await read_form(request, _decoder, beside_payload_max_bytes=None)
    refuse_loop(request)
    application_id = str(form.application_id)
    await caller.require_application(application_id)
    key = read_header(request, "Idempotency-Key")
    if key is not None:
        findings = Findings()
        findings.check_text("Idempotency-Key", key, most=KEY_MAX_CHARS)
        findings.raise_if_any()
    contents = await read_each(list_items(form.events), _decode)
    results = await accept_contents(gateway, application_id, contents, key=key, ip=find_client_address(request))
    answer: BatchShown = {"application_id": application_id, "results": results}
    return answer_json(answer)


async def read_each(
    items: Sequence[msgspec.Raw], read: Callable[[msgspec.Raw], EventContent | Unreadable]
) -> list[EventContent | Unreadable]:
    """The contents of a batch's items, with turns for other requests in between."""
    contents, pauses = [], Pauses()
    for item in items:
        await pauses.take()
        contents.append(read(item))
    return contents


async def accept_contents(
    gateway: Gateway,
    application_id: str,
    contents: "list[EventContent | Unreadable]",
    *,
    ip: str | None,
    key: str | None = None,
) -> list[Result]:
    """A result for each content, in their order. Raises `Problem` when none can be accepted."""
    batch = KeyedBatch(application_id, key, [_content_of(read) for read in contents]) if key is not None else None
    if batch is not None:
        batch.refuse_another(gateway.event_ids)
    results: list[Result] = [{}] * len(contents)
    candidates: dict[int, Candidate] = {}
    known_types: dict[str, AppliedRoutes] = {}
    pauses = Pauses()
    for index, content in enumerate(contents):
        await pauses.take()  # a check against a schema may take 10 ms
        try:
            if isinstance(content, Unreadable):
                raise content.problem
            event, origin = _make(gateway, application_id, content, index, key=key, ip=ip)
            if event.event_type not in known_types:
                known_types[event.event_type] = await require_event_type(gateway, application_id, event.event_type)
            event, warning = check_schema(gateway, known_types[event.event_type], event)
            candidates[index] = Candidate(event, origin, fingerprint(event), warning)
        except Problem as problem:
            results[index] = _show_problem(gateway, problem)
    await accept_all(gateway, candidates, results, is_repeatable=batch is not None)
    if batch is not None and candidates:
        batch.remember(gateway.event_ids)
    return results


async def accept_all(
    gateway: Gateway, candidates: dict[int, Candidate], results: list[Result], *, is_repeatable: bool
) -> None:
    """Write the events that are new, and set the results of all. Raises `Problem` when none can be accepted."""
    claims = await _claim(gateway, candidates)
    new = {index: each for index, each in candidates.items() if claims[index] is Claim.NEW}
    for index in candidates.keys() - new.keys():
        results[index] = _show_known(gateway, candidates[index].event, claims[index], is_repeatable=is_repeatable)
    written: dict[int, Candidate] = {}
    try:
        await _keep_to_quota(gateway, new, results)
        failures = await _write_within_share(gateway, new)
        written = {index: each for index, each in new.items() if index not in failures}
    finally:
        # not written for whatever reason: the ids are free again, and sent again the events count once
        for index, each in new.items():
            if each.origin is not Origin.MADE:
                gateway.event_ids.settle(each.key, accepted=index in written)
            elif index in written:
                gateway.event_ids.remember(each.key, each.content)
    problems = {index: await describe_unwritten(gateway, error) for index, error in failures.items()}
    if problems and len(problems) == len(candidates) and all(each.status == UNAVAILABLE for each in problems.values()):
        raise next(iter(problems.values()))
    pauses = Pauses()
    for index, each in new.items():
        await pauses.take()
        problem = problems.get(index)
        results[index] = (
            _show_problem(gateway, problem, each.event.event_id) if problem is not None else _show_accepted(each)
        )
    for each in written.values():
        gateway.usage.count(each.event.application_id)
    gateway.metrics.events_ingested_total.inc(len(written))


async def _keep_to_quota(gateway: Gateway, new: dict[int, Candidate], results: list[Result]) -> None:
    """Take out of `new` what the daily quota does not allow; the first ones stay. All are of one application."""
    if not new:
        return
    application_id = next(iter(new.values())).event.application_id
    room = await gateway.usage.find_room(application_id, len(new))
    for index in list(new)[room:]:
        each = new.pop(index)
        if each.origin is not Origin.MADE:
            gateway.event_ids.settle(each.key, accepted=False)
        results[index] = _show_problem(gateway, Problem("TooManyEventsToday"), each.event.event_id)


async def _write_within_share(gateway: Gateway, new: dict[int, Candidate]) -> dict[int, KafkaUnavailableError]:
    """`_write`, once the tenant has room for more on their way. Raises `Problem` when it has none in time."""
    if not new:
        return {}
    application_id = next(iter(new.values())).event.application_id
    tenant, timeout_s = find_tenant(gateway, application_id), gateway.settings.kafka.produce_timeout_s
    size_bytes = sum(len(each.event.payload) + EVENT_BYTES for each in new.values())
    try:
        await gateway.in_flight.take_in_turn(tenant, len(new), size_bytes, timeout_s=timeout_s)
    except TimeoutError:
        raise Problem("ServiceUnavailable", detail=TOO_MANY) from None
    try:
        return await _write(gateway, new)
    finally:
        gateway.in_flight.give_back(tenant, len(new), size_bytes)


async def _write(gateway: Gateway, new: dict[int, Candidate]) -> dict[int, KafkaUnavailableError]:
    """Write events in their order; those that were not written, by place. Others have turns between portions."""
    topic, pauses = gateway.topics.events, Pauses()
    headers = None if gateway.tracing is None else gateway.tracing.headers()
    writing: list[tuple[dict[int, ToSend], asyncio.Future[Placement]]] = []
    places = list(new)
    for begin in range(0, len(places), PORTION_EVENTS):
        await pauses.take()
        events = {index: new[index].event for index in places[begin : begin + PORTION_EVENTS]}
        records = {
            index: trace((topic, event.application_id.encode(), to_bytes(event)), headers)
            for index, event in events.items()
        }
        writing.append((records, gateway.producer.send_bytes(list(records.values()))))
    failures: dict[int, KafkaUnavailableError] = {}
    for records, written in writing:
        try:
            await written
        except KafkaUnavailableError as error:
            by_value = {record[2]: failure for record, failure in error.failed}
            failures |= {
                index: by_value.get(record[2], error)
                for index, record in records.items()
                if not by_value or record[2] in by_value
            }
    return failures


async def _claim(gateway: Gateway, candidates: dict[int, Candidate]) -> dict[int, Claim]:
    """Claim the events' ids; the result is by place. Raises `Problem` when the key's ids belong to other events."""
    to_claim = {index: each for index, each in candidates.items() if each.origin is not Origin.MADE}
    claims = dict.fromkeys(candidates, Claim.NEW)
    if not to_claim:
        return claims
    found = await gateway.event_ids.claim_all(
        [each.key for each in to_claim.values()], [each.content for each in to_claim.values()]
    )
    claims |= dict(zip(to_claim, found, strict=True))
    if any(claims[index] is Claim.REUSED and each.origin is Origin.KEY for index, each in to_claim.items()):
        for index, each in to_claim.items():
            if claims[index] is Claim.NEW:
                gateway.event_ids.settle(each.key, accepted=False)
        gateway.metrics.events_refused_total.labels("IdempotencyKeyReused").inc(len(candidates))
        raise Problem("IdempotencyKeyReused")
    return claims


def _decode(raw: msgspec.Raw) -> EventContent | Unreadable:
    try:
        return decode_form(raw, _content_decoder, what="event")
    except Problem as problem:
        return Unreadable(raw, problem)


def _content_of(read: EventContent | Unreadable) -> EventContent | msgspec.Raw:
    return read.raw if isinstance(read, Unreadable) else read


def _make(
    gateway: Gateway, application_id: str, content: EventContent, index: int, *, key: str | None, ip: str | None
) -> tuple[Event, Origin]:
    """The event, and whose its id is."""
    if content.event_id is not None:
        event_id, origin = str(content.event_id), Origin.GIVEN
    elif key is not None:
        event_id, origin = derive_event_id(application_id, key, index), Origin.KEY
    else:
        event_id, origin = str(uuid7()), Origin.MADE
    return make_event(gateway, application_id, content, event_id=event_id, ip=ip), origin


def _show_accepted(accepted: Candidate) -> Result:
    event = accepted.event
    shown = {"status": 201, "event_id": event.event_id, "received_at": show_moment(event.received_at_us)}
    return shown if accepted.warning is None else shown | {"warning": accepted.warning}


def _show_known(gateway: Gateway, event: Event, claim: Claim, *, is_repeatable: bool) -> Result:
    if claim is Claim.REPEATED and is_repeatable:
        # the same batch again, by its key: events accepted then stay accepted
        return {"status": 201, "event_id": event.event_id, "repeated": True}
    problem_id = "EventIdReused" if claim is Claim.REUSED else "EventAlreadyIngested"
    return _show_problem(gateway, Problem(problem_id), event.event_id)


def _show_problem(gateway: Gateway, problem: Problem, event_id: str | None = None) -> Result:
    gateway.metrics.events_refused_total.labels(problem.kind.id).inc()
    shown = show_problem(problem.kind, problem.detail, problem.status, problem.validation)
    return {"status": problem.status, "event_id": event_id, "problem": shown}
