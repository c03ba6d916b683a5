"""`GET /events`, `GET /events/{event_id}`."""

import base64
from typing import TypedDict

from aiohttp import web

from pipeline.core.moments import show_moment
from pipeline.gateway.answers import Id, Time, answer_json
from pipeline.gateway.auth import authorize
from pipeline.gateway.context import GATEWAY
from pipeline.gateway.operations import Operation
from pipeline.gateway.problems import Problem
from pipeline.gateway.reads.queries import APPLICATION_ID, take_application_id, take_path_id
from pipeline.gateway.reads.waiting import find_anywhere, wait_for_archive
from pipeline.postgres.archive_reads import ArchivedEvent, find_event, list_events

NO_ADDRESS = "0.0.0.0"  # noqa: S104 - nothing is bound to it: clients demand an address, and events from Kafka have none


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
        Operation("GET", "/events", show_events, query=(APPLICATION_ID,), answer=list[EventShown]),
        Operation("GET", "/events/{event_id}", show_event, query=(APPLICATION_ID,), answer=EventWithPayload),
    ]


async def show_events(request: web.Request) -> web.Response:
    """The application's newest 100 events, those among them that were accepted just now."""
    gateway, caller = request.app[GATEWAY], await authorize(request)
    application_id = take_application_id(request)
    await caller.require_application(application_id)
    await wait_for_archive(gateway, application_id)
    return answer_json([show_summary(event) for event in await list_events(gateway.pool, application_id)])


async def show_event(request: web.Request) -> web.Response:
    """One event with its payload in base64; one that was accepted just now is waited for."""
    gateway, caller = request.app[GATEWAY], await authorize(request)
    event_id = take_path_id(request, "event_id")
    application_id = take_application_id(request)
    await caller.require_application(application_id)
    found = await find_anywhere(gateway, lambda pool: find_event(pool, application_id, event_id))
    if found is None:
        await wait_for_archive(gateway, application_id, event_id=event_id)
        found = await find_event(gateway.pool, application_id, event_id)
    if found is None:
        raise Problem("NotFound")
    shown: EventWithPayload = {**show_summary(found.event), "payload": base64.b64encode(found.payload).decode()}
    return answer_json(shown)


def show_summary(event: ArchivedEvent) -> EventShown:
    """An event as lists show it."""
    return {
        "event_id": event.event_id,
        "event_type_name": event.event_type,
        "payload_content_type": event.payload_content_type,
        "ip": event.ip or NO_ADDRESS,
        "metadata": event.metadata,
        "occurred_at": show_moment(event.occurred_at_us),
        "received_at": show_moment(event.received_at_us),
        "labels": event.labels,
    }
