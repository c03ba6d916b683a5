"""`/applications`: the spaces that events are sent to and subscriptions belong to."""

from dataclasses import replace
from typing import TypedDict
from uuid import UUID

import msgspec
from aiohttp import web
from uuid_utils import uuid7

from pipeline.gateway.answers import Id, answer_each, answer_json, answer_nothing
from pipeline.gateway.auth import authorize
from pipeline.gateway.bodies import Form, read_form
from pipeline.gateway.context import GATEWAY
from pipeline.gateway.control.organization_quotas import find_limits
from pipeline.gateway.instance import show_limit
from pipeline.gateway.operations import Operation
from pipeline.gateway.preconditions import IF_MATCH, add_tag, derive_tag, require_match
from pipeline.gateway.problems import Problem
from pipeline.gateway.reads.events_per_day import get_today
from pipeline.gateway.reads.queries import ORGANIZATION_ID, take_id, take_path_id
from pipeline.gateway.validation import Findings
from pipeline.postgres.archive.event_counts import count_events_on
from pipeline.postgres.control.applications import (
    Application,
    create_application,
    delete_application,
    find_application,
    find_onboarding,
    list_applications,
    rename_application,
)

NAME_MIN_CHARS, NAME_MAX_CHARS = 2, 50


class ApplicationForm(Form, frozen=True):
    """The body."""

    organization_id: UUID
    name: str


_decoder = msgspec.json.Decoder(ApplicationForm)


class ApplicationShown(TypedDict):
    """An application in a list."""

    application_id: Id
    organization_id: Id
    name: str


class ApplicationInfo(ApplicationShown):
    """An application by itself."""

    quotas: dict[str, int]
    consumption: dict[str, int]
    onboarding_steps: dict[str, str]


def list_routes() -> list[Operation]:
    return [
        Operation("GET", "/applications", show_all, query=(ORGANIZATION_ID,), answer=list[ApplicationShown]),
        Operation(
            "POST",
            "/applications",
            create,
            body=ApplicationForm,
            status=201,
            answer=ApplicationShown,
            problems=("TooManyApplicationsPerOrganization",),
        ),
        Operation("GET", "/applications/{application_id}", show_one, answer=ApplicationInfo),
        Operation(
            "PUT",
            "/applications/{application_id}",
            rename,
            body=ApplicationForm,
            answer=ApplicationShown,
            headers=(IF_MATCH,),
            problems=("PreconditionFailed",),
        ),
        Operation("DELETE", "/applications/{application_id}", delete, status=204),
    ]


async def show_all(request: web.Request) -> web.Response:
    """An organization's applications."""
    caller = await authorize(request)
    organization_id = take_id(request, "organization_id")
    await caller.require_organization(organization_id)
    found = await list_applications(request.app[GATEWAY].pool, organization_id)
    return await answer_each(found, _show)


async def create(request: web.Request) -> web.Response:
    """A new application, known to every stage when this is answered."""
    gateway, caller = request.app[GATEWAY], await authorize(request)
    form = await read_form(request, _decoder)
    await caller.require_organization(str(form.organization_id))
    _check(form)
    gateway.publisher.require_log()
    application = Application(application_id=str(uuid7()), organization_id=str(form.organization_id), name=form.name)
    limits = await find_limits(gateway, organization_id=application.organization_id)
    most = limits.applications_per_organization
    is_created = await create_application(gateway.pool, application, applications_max=most)
    if is_created is None:
        raise Problem("Forbidden")
    if not is_created:
        raise Problem("TooManyApplicationsPerOrganization", detail=f"An organization may have {most} applications.")
    await gateway.publisher.publish(application.application_id)
    return answer_json(_show(application), status=201)


async def show_one(request: web.Request) -> web.Response:
    """One application, with its limits and their present use."""
    gateway, caller = request.app[GATEWAY], await authorize(request)
    application_id = take_path_id(request, "application_id")
    await caller.require_application(application_id)
    application = await find_application(gateway.fresh_pool, application_id)
    if application is None:
        raise Problem("Forbidden")
    settings, limits = gateway.settings, await find_limits(gateway, organization_id=application.organization_id)
    onboarding = await find_onboarding(gateway.fresh_pool, application_id)
    steps = {
        "event_type": onboarding.has_event_type,
        "subscription": onboarding.has_subscription,
        "event": onboarding.has_event,
    }
    info: ApplicationInfo = {
        **_show(application),
        "quotas": {
            "events_per_day_limit": show_limit(limits.events_per_day),
            "days_of_events_retention_limit": show_limit(
                settings.archive.retention_days if settings.quotas.are_on else None
            ),
        },
        "consumption": {
            "events_per_day": await count_events_on(gateway.lookup_pool, get_today(gateway), [application_id])
        },
        "onboarding_steps": {name: "Done" if done else "ToDo" for name, done in steps.items()},
    }
    return add_tag(answer_json(info), _derive_tag(application))


async def rename(request: web.Request) -> web.Response:
    """Give an application another name."""
    gateway, caller = request.app[GATEWAY], await authorize(request)
    form = await read_form(request, _decoder)
    application_id = take_path_id(request, "application_id")
    await caller.require_application(application_id)
    _check(form)
    application = await find_application(gateway.fresh_pool, application_id)
    if application is None:
        raise Problem("Forbidden")
    was = application.name if require_match(request, _list_changeable(application)) else None
    if not await rename_application(gateway.pool, application_id, form.name, was=was):
        raise Problem("Forbidden" if was is None else "PreconditionFailed")
    renamed = replace(application, name=form.name)
    return add_tag(answer_json(_show(renamed)), _derive_tag(renamed))


async def delete(request: web.Request) -> web.Response:
    """Delete an application with its secrets and subscriptions; waiting deliveries are cancelled."""
    gateway, caller = request.app[GATEWAY], await authorize(request)
    application_id = take_path_id(request, "application_id")
    await caller.require_application(application_id)
    gateway.publisher.require_log()
    if not await delete_application(gateway.pool, application_id):
        raise Problem("Forbidden")
    await gateway.publisher.publish(application_id)
    return answer_nothing()


def _check(form: ApplicationForm) -> None:
    findings = Findings()
    findings.check_text("name", form.name, least=NAME_MIN_CHARS, most=NAME_MAX_CHARS)
    findings.raise_if_any()


def _list_changeable(application: Application) -> dict[str, str]:
    return {"name": application.name}


def _derive_tag(application: Application) -> str:
    return derive_tag(_list_changeable(application))


def _show(application: Application) -> ApplicationShown:
    return {
        "application_id": application.application_id,
        "organization_id": application.organization_id,
        "name": application.name,
    }
