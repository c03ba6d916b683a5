"""`GET /request_attempts`, `GET /request_attempts/{request_attempt_id}`: requests sent and attempts still due."""

from typing import NotRequired, TypedDict

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
    declare_some,
    take,
    take_application_id,
    take_filter,
    take_path_id,
)
from pipeline.gateway.reads.waiting import find_anywhere, list_fresh
from pipeline.postgres.archive.attempts import (
    STATUSES,
    ArchivedAttempt,
    ArchivedResponse,
    Status,
    find_exchange,
    list_attempts,
)

STATUS = declare_some("status", STATUSES)


class EventOfAttempt(TypedDict):
    """The event of an attempt."""

    event_id: Id
    event_type_name: str


class SubscriptionOfAttempt(TypedDict):
    """The subscription of an attempt."""

    subscription_id: Id
    description: str | None


class StatusShown(TypedDict):
    """Outcome of an attempt, or its present state. `in_progress`: the request is open for more than a second."""

    type: Status
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
        Operation(
            "GET", "/request_attempts", show_attempts, query=(*ATTEMPT_FILTERS, STATUS), answer=list[AttemptShown]
        ),
        Operation(
            "GET", "/request_attempts/{request_attempt_id}", show_attempt, query=(APPLICATION_ID,), answer=AttemptInfo
        ),
    ]


async def show_attempts(request: web.Request) -> web.Response:
    """A page of attempts, newest first; its `Link` header leads on and back.

    With `status` a page may be short, or empty, and lead on: it looks at 2,000 attempts at most.
    """
    gateway, caller = request.app[GATEWAY], await authorize(request)
    application_id = take_application_id(request)
    wanted = take_filter(request, application_id)
    statuses = take(request, STATUS.name) or ()
    await caller.require_application(application_id)
    if wanted.after is None or wanted.after.is_backward:
        # a first page, and one of newer items, must show events accepted just now; others are history
        page = await list_fresh(
            gateway,
            application_id,
            wanted.event_id,
            lambda pool: list_attempts(pool, wanted, statuses=statuses, now_us=gateway.clock.now_us()),
        )
    else:
        page = await list_attempts(gateway.lookup_pool, wanted, statuses=statuses, now_us=gateway.clock.now_us())
    response = answer_json([show_item(attempt) for attempt in page.attempts])
    add_links(gateway, request, response, after=page.after, before=page.before)
    return response


async def show_attempt(request: web.Request) -> web.Response:
    """One attempt, with an addition of ours: the request as it was sent, how long its parts took, what comes next."""
    gateway, caller = request.app[GATEWAY], await authorize(request)
    attempt_id = take_path_id(request, "request_attempt_id")
    application_id = take_application_id(request)
    await caller.require_application(application_id)
    found = await find_anywhere(
        gateway, lambda pool: find_exchange(pool, application_id, attempt_id, now_us=gateway.clock.now_us())
    )
    if found is None:
        raise Problem("NotFound")
    attempt, response = found
    info: AttemptInfo = {**show_item(attempt), **show_exchange(response)}
    return answer_json(info)


def show_item(attempt: ArchivedAttempt) -> AttemptShown:
    """An attempt as the API shows it."""
    has_failed = attempt.outcome in ("failed", "cancelled")
    has_request = attempt.outcome in ("succeeded", "failed")
    is_open = attempt.status == "in_progress"
    created_at = show_moment(attempt.created_at_us)
    finished_at = show_moment_or_none(attempt.finished_at_us)
    return {
        "request_attempt_id": attempt.attempt_id,
        "delivery_id": attempt.delivery_id,
        "event_id": attempt.event_id,
        "event": {"event_id": attempt.event_id, "event_type_name": attempt.event_type},
        "subscription": {"subscription_id": attempt.subscription_id, "description": attempt.description},
        "created_at": created_at,
        "picked_at": show_moment_or_none(attempt.started_at_us) if has_request or is_open else None,
        "failed_at": finished_at if has_failed else None,
        "succeeded_at": finished_at if attempt.outcome == "succeeded" else None,
        "delay_until": show_moment_or_none(attempt.due_at_us),
        "asked_at": show_moment_or_none(attempt.asked_at_us),
        "response_id": attempt.attempt_id if has_request else None,
        "retry_count": attempt.attempt_number - 1,
        "http_response_status": attempt.response_status,
        "status": _show_status(attempt, created_at, finished_at),
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


def _show_status(attempt: ArchivedAttempt, created_at: str, finished_at: str | None) -> StatusShown:
    """Show an attempt's state. Processing is counted from when it became due."""
    if attempt.status == "in_progress":
        return {"type": "in_progress", "since": show_moment_or_none(attempt.started_at_us) or created_at}
    if attempt.outcome is None or finished_at is None:
        if attempt.status == "waiting" and attempt.due_at_us is not None:
            return {"type": "waiting", "since": created_at, "until": show_moment(attempt.due_at_us)}
        return {"type": "pending", "since": created_at}
    processing_us = (attempt.finished_at_us or 0) - max(attempt.created_at_us, attempt.due_at_us or 0)
    return {
        "type": attempt.status,
        "at": finished_at,
        # cancelled before it was due: no time at all; clocks of two machines may differ
        "full_processing_ms": max(0, processing_us // 1000),
    }
