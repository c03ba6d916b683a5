"""`GET /events_per_day/application` and `/organization`: how many events came in, by day."""

from datetime import date, timedelta
from typing import TypedDict

from aiohttp import web

from pipeline.gateway.answers import Id, answer_json
from pipeline.gateway.auth import authorize
from pipeline.gateway.context import GATEWAY, Gateway
from pipeline.gateway.operations import Operation
from pipeline.gateway.problems import Problem
from pipeline.gateway.reads.queries import (
    APPLICATION_ID,
    ORGANIZATION_ID,
    declare_day,
    take,
    take_application_id,
    take_id,
)
from pipeline.postgres.archive.event_counts import DayCount, count_events_by_day

DEFAULT_DAYS = 30
DAYS = (declare_day("from", "The first day."), declare_day("to", "The last day; today when left out."))


class DayShown(TypedDict):
    """How many events of an application came in on a day."""

    application_id: Id
    application_name: str
    date: str
    amount: int
    is_provisional: bool


def list_routes() -> list[Operation]:
    return [
        Operation(
            "GET",
            "/events_per_day/application",
            show_of_application,
            query=(APPLICATION_ID, *DAYS),
            answer=list[DayShown],
            problems=("InvalidDateRange",),
        ),
        Operation(
            "GET",
            "/events_per_day/organization",
            show_of_organization,
            query=(ORGANIZATION_ID, *DAYS),
            answer=list[DayShown],
            problems=("InvalidDateRange",),
        ),
    ]


async def show_of_application(request: web.Request) -> web.Response:
    """Events a day of one application."""
    gateway, caller = request.app[GATEWAY], await authorize(request)
    application_id = take_application_id(request)
    first, last = _take_range(request)
    await caller.require_application(application_id)
    found = await count_events_by_day(gateway.read_pool, first=first, last=last, application_id=application_id)
    return answer_json([_show(count, get_today(gateway)) for count in found])


async def show_of_organization(request: web.Request) -> web.Response:
    """Events a day of each application of an organization."""
    gateway, caller = request.app[GATEWAY], await authorize(request)
    organization_id = take_id(request, "organization_id")
    first, last = _take_range(request)
    await caller.require_organization(organization_id)
    found = await count_events_by_day(gateway.read_pool, first=first, last=last, organization_id=organization_id)
    return answer_json([_show(count, get_today(gateway)) for count in found])


def get_today(gateway: Gateway) -> date:
    """Today, as the archive counts days: in UTC, by the log's clock."""
    return gateway.clock.now().date()


def _take_range(request: web.Request) -> tuple[date, date]:
    last = take(request, "to") or get_today(request.app[GATEWAY])
    # of a calendar that begins with the year 1
    first = take(request, "from") or last - min(timedelta(days=DEFAULT_DAYS - 1), last - date.min)
    if first > last:
        raise Problem("InvalidDateRange")
    return first, last


def _show(count: DayCount, today: date) -> DayShown:
    return {
        "application_id": count.application_id,
        "application_name": count.application_name,
        "date": count.day.isoformat(),
        "amount": count.amount,
        # events of today may still come, and be archived
        "is_provisional": count.day >= today,
    }
