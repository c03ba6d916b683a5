"""`GET /stats`: how an application's attempts went, minute by minute, hour by hour or day by day."""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Literal, TypedDict, cast

from aiohttp import web

from pipeline.core.events.moments import FIRST_US, LAST_US, show_moment
from pipeline.core.latency import LATENCY_BOUNDS_MS, LATENCY_BUCKETS, estimate_quantile_ms
from pipeline.core.units import MINUTE_US
from pipeline.gateway.answers import Id, Time, answer_json
from pipeline.gateway.auth import authorize
from pipeline.gateway.context import GATEWAY
from pipeline.gateway.operations import Operation, Parameter
from pipeline.gateway.problems import Problem
from pipeline.gateway.reads.queries import (
    APPLICATION_ID,
    SUBSCRIPTION_ID,
    declare_moment,
    take,
    take_application_id,
)
from pipeline.postgres.archive.stats import Counted, StatsFilter, read_stats

POINTS_MAX = 1_500  # a day of minutes, two months of hours
DEFAULT_STEPS = 60
STEPS = {"minute": 1, "hour": 60, "day": 1_440}
Step = Literal["minute", "hour", "day"]


def read_step(text: str) -> Step:
    """Read the step of the figures. Raises `ValueError`."""
    if text not in STEPS:
        raise ValueError(text)
    return cast(Step, text)


STEP = Parameter(
    name="step",
    schema={"type": "string", "enum": list(STEPS)},
    read=read_step,
    wanted="minute, hour or day",
    meaning="How long a point is: a minute when left out.",
)
TIMES = (
    declare_moment("from", "The first moment; an hour, 60 hours or 60 days ago when left out."),
    declare_moment("to", "The last moment, not included; now when left out."),
)


class LatencyOfAttempts(TypedDict):
    """How long attempts took, in milliseconds, estimated from the buckets; null: none was made."""

    mean: float | None
    p50: float | None
    p95: float | None
    p99: float | None


class Figures(TypedDict):
    """Attempts by outcome. `errors`: by name; `statuses`: of answers, as `2xx`.

    `latency_counts`: of those that were made, by bucket: up to each of `latency_bounds_ms`, and beyond.
    """

    attempts: int
    succeeded: int
    failed: int
    cancelled: int
    errors: dict[str, int]
    statuses: dict[str, int]
    latency_ms: LatencyOfAttempts
    latency_counts: list[int]


class Point(Figures):
    """The figures of a step that begins `at`."""

    at: Time


class StatsShown(TypedDict):
    """`points`: in the order of time, those that have attempts. Counts of points and of subscriptions can be added."""

    application_id: Id
    begin: Time
    end: Time
    step: Step
    latency_bounds_ms: list[int]
    total: Figures
    points: list[Point]


def list_routes() -> list[Operation]:
    query = (APPLICATION_ID, SUBSCRIPTION_ID, *TIMES, STEP)
    return [Operation("GET", "/stats", show_stats, query=query, answer=StatsShown, problems=("InvalidDateRange",))]


async def show_stats(request: web.Request) -> web.Response:
    """Outcomes, errors and latency of attempts, by the minute in which they ended.

    Every archived attempt counts once. 1,500 points at most.
    """
    gateway, caller = request.app[GATEWAY], await authorize(request)
    application_id, subscription_id = take_application_id(request), take(request, "subscription_id")
    step: Step = take(request, "step") or "minute"
    first, last = _take_minutes(request, STEPS[step], gateway.clock.now_us())
    await caller.require_application(application_id)
    wanted = StatsFilter(
        application_id=application_id,
        subscription_id=subscription_id,
        first_minute=first,
        last_minute=last,
        step_minutes=STEPS[step],
    )
    found = await read_stats(gateway.lookup_pool, wanted)
    shown: StatsShown = {
        "application_id": application_id,
        "begin": _show(first),
        "end": _show(last),
        "step": step,
        "latency_bounds_ms": list(LATENCY_BOUNDS_MS),
        "total": add_up(found),
        "points": [
            {"at": _show(minute), **add_up(group)} for minute, group in groupby(found, lambda counted: counted.minute)
        ],
    }
    return answer_json(shown)


def add_up(counted: Iterable[Counted]) -> Figures:
    """The figures of all of these."""
    outcomes: Counter[str] = Counter()
    errors: Counter[str] = Counter()
    statuses: Counter[str] = Counter()
    latency, took_us = [0] * LATENCY_BUCKETS, 0
    for each in counted:
        outcomes[each.outcome] += each.attempts
        if each.error_class and each.outcome == "failed":
            errors[each.error_class] += each.attempts
        if each.status_class:
            statuses[f"{each.status_class}xx"] += each.attempts
        latency = [one + other for one, other in zip(latency, each.latency, strict=True)]
        took_us += each.took_us
    return {
        "attempts": outcomes.total(),
        "succeeded": outcomes["succeeded"],
        "failed": outcomes["failed"],
        "cancelled": outcomes["cancelled"],
        "errors": dict(errors),
        "statuses": dict(statuses),
        "latency_ms": _summarise(latency, took_us),
        "latency_counts": latency,
    }


def _summarise(latency: Sequence[int], took_us: int) -> LatencyOfAttempts:
    made = sum(latency)
    return {
        "mean": took_us / made / 1000 if made else None,
        "p50": estimate_quantile_ms(latency, 0.5),
        "p95": estimate_quantile_ms(latency, 0.95),
        "p99": estimate_quantile_ms(latency, 0.99),
    }


def _show(minute: int) -> str:
    return show_moment(min(max(minute * MINUTE_US, FIRST_US), LAST_US))


def _take_minutes(request: web.Request, step: int, now_us: int) -> tuple[int, int]:
    """Whole steps that have both moments in them."""
    to_us = take(request, "to")
    last = -(-(now_us if to_us is None else to_us) // (MINUTE_US * step)) * step
    from_us = take(request, "from")
    first = last - DEFAULT_STEPS * step if from_us is None else from_us // (MINUTE_US * step) * step
    if first > last:
        raise Problem("InvalidDateRange")
    if last - first > POINTS_MAX * step:
        raise web.HTTPBadRequest(text=f"the time has more than {POINTS_MAX:,} steps: ask for less, or longer ones")
    return first, last
