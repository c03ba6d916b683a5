"""`GET /deliveries`, `GET /deliveries/{delivery_id}`: the state of an event's delivery to a subscription."""

from typing import TypedDict

from aiohttp import web

from pipeline.core.events.moments import show_moment, show_moment_or_none
from pipeline.gateway.answers import Id, Time, answer_json
from pipeline.gateway.auth import authorize
from pipeline.gateway.context import GATEWAY
from pipeline.gateway.operations import Operation
from pipeline.gateway.problems import Problem
from pipeline.gateway.reads.queries import (
    APPLICATION_ID,
    CREATED,
    CURSOR,
    EVENT_ID,
    EVENT_TYPES,
    SUBSCRIPTION_ID,
    add_links,
    declare_some,
    take,
    take_application_id,
    take_filter,
    take_path_id,
)
from pipeline.gateway.reads.waiting import find_anywhere, wait_for_archive
from pipeline.postgres.archive.deliveries import (
    STATES,
    ArchivedDelivery,
    State,
    find_delivery,
    list_deliveries,
)

STATE = declare_some("state", STATES)


class StateShown(TypedDict):
    """A delivery's state. `reason`: why it is parked or dead; `until`: when it is attempted, as far as known."""

    type: State
    since: Time
    until: Time | None
    reason: str | None


class SubscriptionOfDelivery(TypedDict):
    """The subscription of a delivery."""

    subscription_id: Id
    description: str | None


class ErrorShown(TypedDict):
    """Why the last attempt failed."""

    name: str
    detail: str | None
    http_response_status: int | None


class DeliveryShown(TypedDict):
    """A delivery. Its id is the receiver's `webhook-id`."""

    delivery_id: Id
    event_id: Id
    event_type_name: str
    subscription: SubscriptionOfDelivery
    created_at: Time
    state: StateShown
    attempts: int
    last_attempt_id: Id | None
    last_error: ErrorShown | None


def list_routes() -> list[Operation]:
    filters = (APPLICATION_ID, EVENT_ID, SUBSCRIPTION_ID, EVENT_TYPES, *CREATED, STATE, CURSOR)
    return [
        Operation("GET", "/deliveries", show_all, query=filters, answer=list[DeliveryShown]),
        Operation("GET", "/deliveries/{delivery_id}", show_one, query=(APPLICATION_ID,), answer=DeliveryShown),
    ]


async def show_all(request: web.Request) -> web.Response:
    """A page of an application's deliveries, newest first; its `Link` header leads on and back.

    With `state` a page may be short, or empty, and lead on: it looks at 2,000 deliveries at most.
    """
    gateway, caller = request.app[GATEWAY], await authorize(request)
    application_id = take_application_id(request)
    wanted = take_filter(request, application_id)
    await caller.require_application(application_id)
    pool = gateway.lookup_pool
    if wanted.after is None or wanted.after.is_backward:
        await wait_for_archive(gateway, application_id, event_id=wanted.event_id, dispatched=True)
        pool = gateway.fresh_pool
    page = await list_deliveries(pool, wanted, states=take(request, "state") or (), now_us=gateway.clock.now_us())
    response = answer_json([show_delivery(delivery) for delivery in page.deliveries])
    add_links(gateway, request, response, after=page.after, before=page.before)
    return response


async def show_one(request: web.Request) -> web.Response:
    """One delivery."""
    gateway, caller = request.app[GATEWAY], await authorize(request)
    delivery_id, application_id = take_path_id(request, "delivery_id"), take_application_id(request)
    await caller.require_application(application_id)
    delivery = await find_anywhere(
        gateway, lambda pool: find_delivery(pool, application_id, delivery_id, now_us=gateway.clock.now_us())
    )
    if delivery is None:
        raise Problem("NotFound")
    return answer_json(show_delivery(delivery))


def show_delivery(delivery: ArchivedDelivery) -> DeliveryShown:
    """A delivery as the API shows it."""
    error: ErrorShown | None = None
    if delivery.error_class is not None:
        error = {
            "name": delivery.error_class,
            "detail": delivery.error_detail,
            "http_response_status": delivery.response_status,
        }
    return {
        "delivery_id": delivery.delivery_id,
        "event_id": delivery.event_id,
        "event_type_name": delivery.event_type,
        "subscription": {"subscription_id": delivery.subscription_id, "description": delivery.description},
        "created_at": show_moment(delivery.created_at_us),
        "state": {
            "type": delivery.state,
            "since": show_moment(delivery.since_us),
            "until": show_moment_or_none(delivery.next_attempt_at_us),
            "reason": delivery.reason,
        },
        "attempts": delivery.attempts_made,
        "last_attempt_id": delivery.last_attempt_id,
        "last_error": error,
    }
