"""`GET /request_attempts`, `GET /request_attempts/{request_attempt_id}`: requests sent and attempts still due."""

from typing import Literal, NotRequired, TypedDict

from aiohttp import web

from pipeline.core.events.moments import show_moment, show_moment_or_none
from pipeline.gateway.answers import Id, Time, answer_json
from pipeline.gateway.auth import authorize
from pipeline.gateway.context import GATEWAY
from pipeline.gateway.operations import Operation
from pipeline.gateway.problems import Problem
from pipeline.gateway.reads.queries import (
    APPLICATION_ID,
    ATTEMPT_FILTERS,
    add_links,
    take_application_id,
    take_filter,
    take_path_id,
)
from pipeline.gateway.reads.waiting import find_anywhere, list_fresh
from pipeline.postgres.archive.attempts import (
    ArchivedAttempt,
    ArchivedResponse,
    find_attempt,
    find_response,
    list_attempts,
)
from pipeline.postgres.archive.paging import Cursor, turn_back


class EventOfAttempt(TypedDict):
    """The event of an attempt."""

    event_id: Id
    event_type_name: str


class SubscriptionOfAttempt(TypedDict):
    """The subscription of an attempt."""

    subscription_id: Id
    description: str | None


class StatusShown(TypedDict):
    """State of an attempt, or of its wait. `in_progress`: known to Hook0's clients, and not used here."""

    type: Literal["waiting", "pending", "in_progress", "successful", "failed"]
    since: NotRequired[Time]
    until: NotRequired[Time]
    at: NotRequired[Time]
    full_processing_ms: NotRequired[int]


class RequestShown(TypedDict):
    """The request that was sent; values that look like secrets are redacted."""

    method: str
    url: str
    headers: dict[str, str]


AttemptError = TypedDict("AttemptError", {"class": str, "detail": str | None})


class AttemptShown(TypedDict):
    """An attempt in a list."""

    request_attempt_id: Id
    delivery_id: Id
    event_id: Id
    event: EventOfAttempt
    subscription: SubscriptionOfAttempt
    created_at: Time
    picked_at: Time | None
    failed_at: Time | None
    succeeded_at: Time | None
    delay_until: Time | None
    asked_at: Time | None
    response_id: Id | None
    retry_count: int
    http_response_status: int | None
    status: StatusShown


class ExchangeShown(TypedDict):
    """A request that was sent, the durations of its parts, and the next attempt."""

    request: RequestShown | None
    error: AttemptError | None
    timings_ms: dict[str, float] | None
    next_attempt_at: Time | None


class AttemptInfo(AttemptShown, ExchangeShown):
    """An attempt by itself."""


def list_routes() -> list[Operation]:
    return [
        Operation("GET", "/request_attempts", show_attempts, query=ATTEMPT_FILTERS, answer=list[AttemptShown]),
        Operation(
            "GET", "/request_attempts/{request_attempt_id}", show_attempt, query=(APPLICATION_ID,), answer=AttemptInfo
        ),
    ]


async def show_attempts(request: web.Request) -> web.Response:
    """A page of attempts, newest first; its `Link` header leads to the next one."""
    gateway, caller = request.app[GATEWAY], await authorize(request)
    application_id = take_application_id(request)
    wanted = take_filter(request, application_id)
    await caller.require_application(application_id)
    if wanted.after is None or wanted.after.is_backward:
        # a first page, and one of newer items, must show events accepted just now; others are history
        attempts = await list_fresh(gateway, application_id, wanted.event_id, lambda pool: list_attempts(pool, wanted))
    else:
        attempts = await list_attempts(gateway.lookup_pool, wanted)
    now_us = gateway.clock.now_us()
    response = answer_json([show_item(attempt, now_us) for attempt in attempts])
    if attempts:
        first, last = _point_at(attempts[0]), _point_at(attempts[-1])
        add_links(gateway, request, response, after=last, before=turn_back(first))
    return response


async def show_attempt(request: web.Request) -> web.Response:
    """One attempt, with an addition of ours: the request as it was sent, how long its parts took, what comes next."""
    gateway, caller = request.app[GATEWAY], await authorize(request)
    attempt_id = take_path_id(request, "request_attempt_id")
    application_id = take_application_id(request)
    await caller.require_application(application_id)
    attempt = await find_anywhere(gateway, lambda pool: find_attempt(pool, application_id, attempt_id))
    if attempt is None:
        raise Problem("NotFound")
    exchange = await find_anywhere(gateway, lambda pool: find_response(pool, application_id, attempt_id))
    info: AttemptInfo = {**show_item(attempt, gateway.clock.now_us()), **show_exchange(exchange)}
    return answer_json(info)


def show_item(attempt: ArchivedAttempt, now_us: int) -> AttemptShown:
    """An attempt as the API shows it."""
    has_failed = attempt.outcome in ("failed", "cancelled")
    has_request = attempt.outcome in ("succeeded", "failed")
    return {
        "request_attempt_id": attempt.attempt_id,
        "delivery_id": attempt.delivery_id,
        "event_id": attempt.event_id,
        "event": {"event_id": attempt.event_id, "event_type_name": attempt.event_type},
        "subscription": {"subscription_id": attempt.subscription_id, "description": attempt.description},
        "created_at": show_moment(attempt.created_at_us),
        "picked_at": show_moment_or_none(attempt.started_at_us) if has_request else None,
        "failed_at": show_moment_or_none(attempt.finished_at_us) if has_failed else None,
        "succeeded_at": show_moment_or_none(attempt.finished_at_us) if attempt.outcome == "succeeded" else None,
        "delay_until": show_moment_or_none(attempt.due_at_us),
        "asked_at": show_moment_or_none(attempt.asked_at_us),
        "response_id": attempt.attempt_id if has_request else None,
        "retry_count": attempt.attempt_number - 1,
        "http_response_status": attempt.response_status,
        "status": show_status(attempt, now_us),
    }


def show_exchange(exchange: ArchivedResponse | None) -> ExchangeShown:
    """The request of an attempt that was made; nothing of one that was not."""
    if exchange is None:
        return {"request": None, "error": None, "timings_ms": None, "next_attempt_at": None}
    error: AttemptError | None = None
    if exchange.error_class is not None:
        error = {"class": exchange.error_class, "detail": exchange.error_detail}
    return {
        "request": {
            "method": exchange.request_method,
            "url": exchange.request_url,
            "headers": exchange.request_headers,
        },
        "error": error,
        "timings_ms": {name: taken_us / 1000 for name, taken_us in exchange.timings_us.items()},
        "next_attempt_at": show_moment_or_none(exchange.next_due_at_us),
    }


def show_status(attempt: ArchivedAttempt, now_us: int) -> StatusShown:
    """Show an attempt's state. Processing is counted from when it became due."""
    if attempt.outcome is None:
        since = show_moment(attempt.created_at_us)
        if attempt.due_at_us is not None and attempt.due_at_us > now_us:
            return {"type": "waiting", "since": since, "until": show_moment(attempt.due_at_us)}
        return {"type": "pending", "since": since}
    at_us = attempt.finished_at_us or 0
    processing_us = at_us - max(attempt.created_at_us, attempt.due_at_us or 0)
    return {
        "type": "successful" if attempt.outcome == "succeeded" else "failed",
        "at": show_moment(at_us),
        # cancelled before it was due: no time at all; clocks of two machines may differ
        "full_processing_ms": max(0, processing_us // 1000),
    }


def _point_at(attempt: ArchivedAttempt) -> Cursor:
    return Cursor(created_at_us=attempt.created_at_us, attempt_id=attempt.attempt_id)
