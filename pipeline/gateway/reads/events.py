"""`GET /events`, `GET /events/{event_id}`."""

import base64
from typing import Any, TypedDict

import orjson
from aiohttp import web

from pipeline.core.events.moments import show_moment
from pipeline.core.events.names import LABELS_MAX
from pipeline.gateway.answers import Id, Time, answer_json
from pipeline.gateway.auth import authorize
from pipeline.gateway.context import GATEWAY, Gateway
from pipeline.gateway.operations import Operation
from pipeline.gateway.problems import Problem
from pipeline.gateway.reads.queries import (
    APPLICATION_ID,
    CURSOR,
    add_links,
    declare_moment,
    declare_text,
    read_names,
    read_pairs,
    take,
    take_application_id,
    take_path_id,
)
from pipeline.gateway.reads.waiting import find_anywhere, wait_for_archive
from pipeline.postgres.archive.lists import EventFilter, list_events
from pipeline.postgres.archive.reads import ArchivedEvent, ArchivedPayload, find_event

NO_ADDRESS = "0.0.0.0"  # noqa: S104 - nothing is bound to it: clients demand an address, and events from Kafka have none
NO_PAIRS: dict[str, str] = {}

PAIRS_WANTED = f"up to {LABELS_MAX} pairs as `a=b`, with commas between"
FILTERS = (
    APPLICATION_ID,
    declare_text("event_type_names", "Only of these types.", read_names, "names with commas between"),
    declare_text("labels", "Only with all of these: `a=b,c=d`.", read_pairs, PAIRS_WANTED),
    declare_moment("min_received_at", "Only from this moment on."),
    declare_moment("max_received_at", "Only up to this moment."),
    CURSOR,
)


class EventShown(TypedDict):
    """An event in a list."""

    event_id: Id
    event_type_name: str
    payload_content_type: str
    ip: str
    metadata: dict[str, str]
    occurred_at: Time
    received_at: Time
    labels: dict[str, str]


class EventWithPayload(EventShown):
    """An event by itself. `payload`: base64, whatever its type."""

    payload: str


def list_routes() -> list[Operation]:
    return [
        Operation("GET", "/events", show_events, query=FILTERS, answer=list[EventShown]),
        Operation("GET", "/events/{event_id}", show_event, query=(APPLICATION_ID,), answer=EventWithPayload),
    ]


async def show_events(request: web.Request) -> web.Response:
    """A page of the application's events, newest first, with those accepted just now; `Link` leads on and back.

    With filters a page may be short, or empty, and lead on: it looks at 2,000 events at most.
    """
    gateway, caller = request.app[GATEWAY], await authorize(request)
    application_id = take_application_id(request)
    wanted = EventFilter(
        application_id=application_id,
        event_types=take(request, "event_type_names") or (),
        labels=take(request, "labels") or {},
        received_min_us=take(request, "min_received_at"),
        received_max_us=take(request, "max_received_at"),
        after=take(request, "pagination_cursor"),
    )
    await caller.require_application(application_id)
    pool = gateway.lookup_pool
    if wanted.after is None or wanted.after.is_backward:
        await wait_for_archive(gateway, application_id)
        pool = gateway.fresh_pool
    page = await list_events(pool, wanted)
    response = answer_json([show_summary(event) for event in page.events])
    add_links(gateway, request, response, after=page.after, before=page.before)
    return response


async def show_event(request: web.Request) -> web.Response:
    """One event with its payload in base64; one that was accepted just now is waited for."""
    gateway, caller = request.app[GATEWAY], await authorize(request)
    event_id = take_path_id(request, "event_id")
    application_id = take_application_id(request)
    await caller.require_application(application_id)
    found = await find_accepted(gateway, application_id, event_id)
    if found is None:
        raise Problem("NotFound")
    shown: EventWithPayload = {**show_summary(found.event), "payload": base64.b64encode(found.payload).decode()}
    return answer_json(shown)


async def find_accepted(gateway: Gateway, application_id: str, event_id: str) -> ArchivedPayload | None:
    """An event of the archive; one that was accepted just now is waited for."""
    found = await find_anywhere(gateway, lambda pool: find_event(pool, application_id, event_id))
    if found is None:
        await wait_for_archive(gateway, application_id, event_id=event_id)
        found = await find_event(gateway.fresh_pool, application_id, event_id)
    return found


def show_summary(event: ArchivedEvent) -> EventShown:
    """An event as lists show it."""
    return {
        "event_id": event.event_id,
        "event_type_name": event.event_type,
        "payload_content_type": event.payload_content_type,
        "ip": event.ip or NO_ADDRESS,
        "metadata": _show_pairs(event.metadata),
        "occurred_at": show_moment(event.occurred_at_us),
        "received_at": show_moment(event.received_at_us),
        "labels": _show_pairs(event.labels),
    }


def _show_pairs(text: str) -> Any:
    """Labels or metadata: the archive has them as JSON, and so has the answer."""
    return NO_PAIRS if text == "{}" else orjson.Fragment(text)
