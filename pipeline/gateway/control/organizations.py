"""`/organizations`: who owns applications. Created by users, and with the master key."""

from dataclasses import asdict
from typing import Any, TypedDict

import msgspec
from aiohttp import web
from uuid_utils import uuid7

from pipeline.core.rights import Role
from pipeline.gateway.answers import Id, answer_each, answer_json, answer_nothing
from pipeline.gateway.auth import Caller, authorize
from pipeline.gateway.bodies import Form, read_form
from pipeline.gateway.context import GATEWAY
from pipeline.gateway.control.organization_quotas import find_limits
from pipeline.gateway.instance import show_limit
from pipeline.gateway.operations import Operation
from pipeline.gateway.preconditions import IF_MATCH, add_tag, derive_tag, require_match
from pipeline.gateway.problems import Problem
from pipeline.gateway.reads.events_per_day import get_today
from pipeline.gateway.reads.queries import take_path_id
from pipeline.gateway.validation import Findings
from pipeline.postgres.archive.event_counts import count_events_on
from pipeline.postgres.control.members import list_members
from pipeline.postgres.control.organizations import (
    Organization,
    create_organization,
    delete_organization,
    find_organization,
    find_organization_onboarding,
    has_applications,
    list_organizations,
    rename_organization,
)

NAME_MIN_CHARS, NAME_MAX_CHARS = 2, 50


class OrganizationForm(Form, frozen=True):
    """The body."""

    name: str


_decoder = msgspec.json.Decoder(OrganizationForm)


class OrganizationShown(TypedDict):
    """An organization in a list."""

    organization_id: Id
    name: str
    role: str
    plan: None


class OrganizationInfo(OrganizationShown):
    """An organization by itself."""

    users: list[dict[str, Any]]
    quotas: dict[str, int]
    consumption: dict[str, int]
    onboarding_steps: dict[str, str]


def list_routes() -> list[Operation]:
    return [
        Operation("GET", "/organizations", show_all, answer=list[OrganizationShown]),
        Operation("POST", "/organizations", create, body=OrganizationForm, answer=OrganizationShown),
        Operation("GET", "/organizations/{organization_id}", show_one, answer=OrganizationInfo),
        Operation(
            "PUT",
            "/organizations/{organization_id}",
            rename,
            body=OrganizationForm,
            answer=OrganizationInfo,
            headers=(IF_MATCH,),
            problems=("PreconditionFailed",),
        ),
        Operation(
            "DELETE",
            "/organizations/{organization_id}",
            delete,
            status=204,
            problems=("OrganizationIsNotEmpty",),
        ),
    ]


async def show_all(request: web.Request) -> web.Response:
    """The organizations that the caller may act in."""
    caller, pool = await authorize(request), request.app[GATEWAY].pool
    if caller.is_master:
        return await answer_each(await list_organizations(pool), lambda each: _show(each, Role.EDITOR))
    grant = await request.app[GATEWAY].tokens.find_again(caller.grant) or caller.grant
    own = [each for each in grant.roles if grant.allows(caller.right, each)]
    if not own:
        if grant.user_id is not None:
            return answer_json([])
        raise Problem("Forbidden")
    found = await list_organizations(pool, organization_ids=own)
    return await answer_each(found, lambda each: _show(each, grant.roles[each.organization_id]))


async def create(request: web.Request) -> web.Response:
    """A new organization; answered with 200, as clients expect. The user who makes it is its editor."""
    gateway, caller = request.app[GATEWAY], await authorize(request)
    form = await read_form(request, _decoder)
    user_id = caller.grant.user_id
    if user_id is None:
        caller.require_master()
    _check(form)
    organization = Organization(organization_id=str(uuid7()), name=form.name)
    await create_organization(gateway.pool, organization, editor_id=user_id)
    if caller.grant.token_hash is not None:
        gateway.tokens.sessions.forget(caller.grant.token_hash)
    return answer_json(_show(organization, Role.EDITOR))


async def show_one(request: web.Request) -> web.Response:
    """One organization."""
    caller, organization_id = await authorize(request), take_path_id(request, "organization_id")
    await caller.require_organization(organization_id)
    return _answer(await _describe(caller, organization_id))


async def _describe(caller: Caller, organization_id: str) -> OrganizationInfo:
    gateway = caller.gateway
    organization = await find_organization(gateway.pool, organization_id)
    if organization is None:
        raise Problem("Forbidden")
    onboarding = await find_organization_onboarding(gateway.pool, organization_id)
    events_today = await count_events_on(gateway.lookup_pool, get_today(gateway), onboarding.application_ids)
    steps = {
        "application": bool(onboarding.application_ids),
        "event_type": onboarding.has_event_type,
        "subscription": onboarding.has_subscription,
        "event": onboarding.has_event,
    }
    settings = gateway.settings
    quotas = await find_limits(gateway, organization_id=organization_id)
    limits = {
        "members_per_organization_limit": show_limit(quotas.members_per_organization),
        "applications_per_organization_limit": show_limit(quotas.applications_per_organization),
        "events_per_day_limit": show_limit(quotas.events_per_day),
        "days_of_events_retention_limit": show_limit(settings.archive.retention_days if quotas.are_on else None),
    }
    members = await list_members(gateway.pool, organization_id)
    return {
        **_show(organization, caller.grant.roles.get(organization_id, Role.EDITOR)),
        "users": [asdict(member) for member in members],
        "quotas": limits,
        "consumption": {
            "members": len(members),
            "applications": len(onboarding.application_ids),
            "events_per_day": events_today,
        },
        "onboarding_steps": {name: "Done" if done else "ToDo" for name, done in steps.items()},
    }


async def rename(request: web.Request) -> web.Response:
    """Give an organization another name."""
    caller = await authorize(request)
    form = await read_form(request, _decoder)
    organization_id = take_path_id(request, "organization_id")
    await caller.require_organization(organization_id)
    _check(form)
    organization = Organization(organization_id=organization_id, name=form.name)
    present = await find_organization(request.app[GATEWAY].pool, organization_id)
    if present is None:
        raise Problem("Forbidden")
    was = present.name if require_match(request, {"name": present.name}) else None
    if not await rename_organization(request.app[GATEWAY].pool, organization, was=was):
        raise Problem("Forbidden" if was is None else "PreconditionFailed")
    return _answer(await _describe(caller, organization_id))


async def delete(request: web.Request) -> web.Response:
    """Delete an organization that has no applications."""
    caller, pool = await authorize(request), request.app[GATEWAY].pool
    organization_id = take_path_id(request, "organization_id")
    await caller.require_organization(organization_id)
    if not await delete_organization(pool, organization_id):
        raise Problem("OrganizationIsNotEmpty" if await has_applications(pool, organization_id) else "Forbidden")
    return answer_nothing()


def _answer(info: OrganizationInfo) -> web.Response:
    return add_tag(answer_json(info), derive_tag({"name": info["name"]}))


def _check(form: OrganizationForm) -> None:
    findings = Findings()
    findings.check_text("name", form.name, least=NAME_MIN_CHARS, most=NAME_MAX_CHARS)
    findings.raise_if_any()


def _show(organization: Organization, role: Role) -> OrganizationShown:
    return {
        "organization_id": organization.organization_id,
        "name": organization.name,
        "role": role,
        "plan": None,
    }
