"""`/retry_schedules`: named delays between attempts, which subscriptions refer to."""

from typing import Any, TypedDict
from uuid import UUID

import msgspec
from aiohttp import web
from uuid_utils import uuid7

from pipeline.core.events.moments import show_datetime
from pipeline.core.routing.delivery_settings import find_delays_problem
from pipeline.gateway.answers import Id, Time, answer_each, answer_json, answer_nothing
from pipeline.gateway.auth import authorize, read_own_form
from pipeline.gateway.bodies import Form
from pipeline.gateway.context import GATEWAY
from pipeline.gateway.operations import Operation
from pipeline.gateway.preconditions import IF_MATCH, add_tag, derive_tag, require_match
from pipeline.gateway.problems import Problem
from pipeline.gateway.reads.queries import APPLICATION_ID, take_application_id, take_path_id
from pipeline.gateway.validation import Findings
from pipeline.postgres.control.retry_schedules import (
    RetrySchedule,
    ScheduleChangedError,
    UsedError,
    create_schedule,
    delete_schedule,
    find_schedule,
    list_schedules,
    replace_schedule,
)

NAME_MAX_CHARS = 50
SCHEDULES_MAX = 100


class RetryScheduleForm(Form, frozen=True):
    """The body. `retry_delays_s`: seconds after the n-th failure; as many retries as there are delays."""

    application_id: UUID
    name: str
    retry_delays_s: list[float]


_decoder = msgspec.json.Decoder(RetryScheduleForm)


class RetryScheduleShown(TypedDict):
    """A retry schedule."""

    retry_schedule_id: Id
    application_id: Id
    name: str
    retry_delays_s: list[float]
    created_at: Time
    updated_at: Time


def list_routes() -> list[Operation]:
    path = "/retry_schedules/{retry_schedule_id}"
    return [
        Operation("GET", "/retry_schedules", show_all, query=(APPLICATION_ID,), answer=list[RetryScheduleShown]),
        Operation(
            "POST",
            "/retry_schedules",
            create,
            body=RetryScheduleForm,
            status=201,
            answer=RetryScheduleShown,
            problems=("TooManyRetrySchedulesPerApplication",),
        ),
        Operation("GET", path, show_one, query=(APPLICATION_ID,), answer=RetryScheduleShown),
        Operation(
            "PUT",
            path,
            replace,
            body=RetryScheduleForm,
            answer=RetryScheduleShown,
            headers=(IF_MATCH,),
            problems=("PreconditionFailed",),
        ),
        Operation("DELETE", path, delete, query=(APPLICATION_ID,), status=204, problems=("RetryScheduleInUse",)),
    ]


async def show_all(request: web.Request) -> web.Response:
    """An application's retry schedules, oldest first."""
    gateway, caller = request.app[GATEWAY], await authorize(request)
    application_id = take_application_id(request)
    await caller.require_application(application_id)
    return await answer_each(await list_schedules(gateway.pool, application_id), _show)


async def create(request: web.Request) -> web.Response:
    """A new retry schedule."""
    gateway = request.app[GATEWAY]
    _, form, application_id = await read_own_form(request, _decoder)
    _check(form)
    gateway.publisher.require_log()
    now = gateway.clock.now()
    schedule = RetrySchedule(
        retry_schedule_id=str(uuid7()),
        application_id=application_id,
        name=form.name,
        retry_delays_s=form.retry_delays_s,
        created_at=now,
        updated_at=now,
    )
    is_created = await create_schedule(gateway.pool, schedule, schedules_max=SCHEDULES_MAX)
    if is_created is None:
        raise Problem("Forbidden")
    if not is_created:
        detail = f"An application may have {SCHEDULES_MAX} retry schedules."
        raise Problem("TooManyRetrySchedulesPerApplication", detail=detail)
    await gateway.publisher.publish(application_id)
    return add_tag(answer_json(_show(schedule), status=201), derive_tag(_list_changeable(schedule)))


async def show_one(request: web.Request) -> web.Response:
    """One retry schedule."""
    gateway, caller = request.app[GATEWAY], await authorize(request)
    retry_schedule_id, application_id = take_path_id(request, "retry_schedule_id"), take_application_id(request)
    await caller.require_application(application_id)
    return _answer(await find_schedule(gateway.pool, application_id, retry_schedule_id))


async def replace(request: web.Request) -> web.Response:
    """Replace name and delays, for all subscriptions that refer to it: failures from now on are retried by it."""
    gateway = request.app[GATEWAY]
    retry_schedule_id = take_path_id(request, "retry_schedule_id")
    _, form, application_id = await read_own_form(request, _decoder)
    _check(form)
    gateway.publisher.require_log()
    present = await find_schedule(gateway.pool, application_id, retry_schedule_id)
    if present is None:
        raise Problem("NotFound")
    is_conditional = require_match(request, _list_changeable(present))
    try:
        schedule = await replace_schedule(
            gateway.pool,
            application_id,
            retry_schedule_id,
            name=form.name,
            retry_delays_s=form.retry_delays_s,
            was=present if is_conditional else None,
        )
    except ScheduleChangedError:
        raise Problem("PreconditionFailed") from None
    await gateway.publisher.publish(application_id)
    return _answer(schedule)


async def delete(request: web.Request) -> web.Response:
    """Delete a retry schedule that no subscription refers to."""
    gateway, caller = request.app[GATEWAY], await authorize(request)
    retry_schedule_id, application_id = take_path_id(request, "retry_schedule_id"), take_application_id(request)
    await caller.require_application(application_id)
    gateway.publisher.require_log()
    try:
        is_deleted = await delete_schedule(gateway.pool, application_id, retry_schedule_id)
    except UsedError as error:
        detail = f"Subscriptions that refer to it: {error.count}. Give them another one first."
        raise Problem("RetryScheduleInUse", detail=detail) from None
    await gateway.publisher.publish(application_id)
    if not is_deleted:
        raise Problem("NotFound")
    return answer_nothing()


def _check(form: RetryScheduleForm) -> None:
    findings = Findings()
    findings.check_text("name", form.name, most=NAME_MAX_CHARS)
    problem = find_delays_problem(form.retry_delays_s)
    if problem is not None:
        findings.add("retry_delays_s", "retry-delays", problem)
    findings.raise_if_any()


def _list_changeable(schedule: RetrySchedule) -> dict[str, Any]:
    return {"name": schedule.name, "retry_delays_s": schedule.retry_delays_s}


def _answer(schedule: RetrySchedule | None) -> web.Response:
    if schedule is None:
        raise Problem("NotFound")
    return add_tag(answer_json(_show(schedule)), derive_tag(_list_changeable(schedule)))


def _show(schedule: RetrySchedule) -> RetryScheduleShown:
    return {
        "retry_schedule_id": schedule.retry_schedule_id,
        "application_id": schedule.application_id,
        "name": schedule.name,
        "retry_delays_s": schedule.retry_delays_s,
        "created_at": show_datetime(schedule.created_at),
        "updated_at": show_datetime(schedule.updated_at),
    }
