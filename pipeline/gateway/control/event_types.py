"""`/event_types`: what an application's events can be."""

from typing import TypedDict
from uuid import UUID

import msgspec
from aiohttp import web

from pipeline.core.events.operational import RESERVED_PREFIX
from pipeline.gateway.answers import answer_each, answer_json, answer_nothing
from pipeline.gateway.auth import authorize, read_own_form
from pipeline.gateway.bodies import Form
from pipeline.gateway.context import GATEWAY
from pipeline.gateway.control.organization_quotas import find_limits
from pipeline.gateway.headers import set_links
from pipeline.gateway.operations import Operation
from pipeline.gateway.problems import Problem
from pipeline.gateway.reads.queries import APPLICATION_ID, LIMIT, declare_text, take, take_application_id
from pipeline.gateway.validation import Findings
from pipeline.postgres.control.event_types import (
    EventType,
    create_event_type,
    deactivate_event_type,
    list_event_types,
)

PART_MAX_CHARS = 50
AFTER = declare_text("after", "Only those behind this name: of a `Link` header.")
BEFORE = declare_text("before", "Only those before this name, the nearest ones: of a `Link` header.")


class EventTypeForm(Form, frozen=True):
    """The body."""

    application_id: UUID
    service: str
    resource_type: str
    verb: str


_decoder = msgspec.json.Decoder(EventTypeForm)


class EventTypeShown(TypedDict):
    """An event type."""

    service_name: str
    resource_type_name: str
    verb_name: str
    event_type_name: str


def list_routes() -> list[Operation]:
    return [
        Operation(
            "GET", "/event_types", show_all, query=(APPLICATION_ID, LIMIT, AFTER, BEFORE), answer=list[EventTypeShown]
        ),
        Operation(
            "POST",
            "/event_types",
            create,
            body=EventTypeForm,
            status=201,
            answer=EventTypeShown,
            problems=("TooManyEventTypesPerApplication",),
        ),
        Operation("DELETE", "/event_types/{name}", deactivate, query=(APPLICATION_ID,), status=204),
    ]


async def show_all(request: web.Request) -> web.Response:
    """An application's active event types, by name. With `limit` a page of them; its `Link` leads on and back."""
    gateway, caller = request.app[GATEWAY], await authorize(request)
    application_id = take_application_id(request)
    limit, after, before = take(request, "limit"), take(request, "after"), take(request, "before")
    await caller.require_application(application_id)
    found = await list_event_types(gateway.fresh_pool, application_id, after=after, before=before, limit=limit)
    response = await answer_each(found, show_event_type)
    if limit is not None:
        names, is_full = [each.name for each in found], len(found) == limit
        set_links(
            request,
            response,
            gateway.settings.gateway.public_url,
            _lead(names, after=after, before=before, is_full=is_full),
        )
    return response


async def create(request: web.Request) -> web.Response:
    """Create an event type, or activate it again. One that exists is answered in the same way."""
    gateway = request.app[GATEWAY]
    _, form, application_id = await read_own_form(request, _decoder)
    findings = Findings()
    findings.check_event_type_part("service", form.service, most=PART_MAX_CHARS, is_first=True)
    findings.check_event_type_part("resource_type", form.resource_type, most=PART_MAX_CHARS)
    findings.check_event_type_part("verb", form.verb, most=PART_MAX_CHARS, is_last=True)
    if f"{form.service}.".startswith(RESERVED_PREFIX):
        findings.add("service", "reserved", "event types that start with `hookline.` are Hookline's own")
    findings.raise_if_any()
    event_type = EventType(service=form.service, resource_type=form.resource_type, verb=form.verb)
    # only its length in bytes is left, which no part has alone
    findings.check_event_type("event_type_name", event_type.name)
    findings.raise_if_any()
    gateway.publisher.require_log()
    most = (await find_limits(gateway, application_id=application_id)).event_types_per_application
    is_created = await create_event_type(gateway.pool, application_id, event_type, event_types_max=most)
    if is_created is None:
        raise Problem("Forbidden")
    if not is_created:
        raise Problem("TooManyEventTypesPerApplication", detail=f"An application may have {most} event types.")
    await gateway.publisher.publish(application_id)
    return answer_json(show_event_type(event_type), status=201)


async def deactivate(request: web.Request) -> web.Response:
    """Deactivate an event type: the next event of this type is refused."""
    gateway, caller = request.app[GATEWAY], await authorize(request)
    application_id = take_application_id(request)
    await caller.require_application(application_id)
    gateway.publisher.require_log()
    is_deactivated = await deactivate_event_type(gateway.pool, application_id, request.match_info["name"])
    await gateway.publisher.publish(application_id)
    if not is_deactivated:
        raise Problem("NotFound")
    return answer_nothing()


def _lead(
    names: list[str], *, after: str | None, before: str | None, is_full: bool
) -> list[tuple[str, dict[str, str | None]]]:
    """Links of a page with these names. Without names the way back begins with the name that the page was behind."""
    links: list[tuple[str, dict[str, str | None]]] = []
    if is_full or before is not None:
        links.append(("next", {"after": names[-1] if names else None, "before": None}))
    if after is not None:
        # no name ends with a blank, or has a character below one
        links.append(("prev", {"before": names[0] if names else f"{after} ", "after": None}))
    elif before is not None and is_full:
        links.append(("prev", {"before": names[0], "after": None}))
    return links


def show_event_type(event_type: EventType) -> EventTypeShown:
    """An event type without its payload schema."""
    return {
        "service_name": event_type.service,
        "resource_type_name": event_type.resource_type,
        "verb_name": event_type.verb,
        "event_type_name": event_type.name,
    }
