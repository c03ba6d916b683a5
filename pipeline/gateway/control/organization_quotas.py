"""`/organizations/{organization_id}/quotas`: what an organization may use where it differs from the instance."""

from dataclasses import asdict
from typing import Annotated, TypedDict

import msgspec
from aiohttp import web

from pipeline.config import QuotasConfig
from pipeline.gateway.answers import answer_json
from pipeline.gateway.auth import authorize
from pipeline.gateway.bodies import Form, read_form
from pipeline.gateway.context import GATEWAY, Gateway
from pipeline.gateway.operations import Operation
from pipeline.gateway.preconditions import IF_MATCH, add_tag, derive_tag, require_match
from pipeline.gateway.problems import Problem
from pipeline.gateway.reads.queries import take_path_id
from pipeline.postgres.control.organization_quotas import (
    OrganizationQuotas,
    change_quotas,
    find_quotas,
    find_quotas_of_application,
)
from pipeline.postgres.control.organizations import find_organization

Limit = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 2)]


class QuotasForm(Form, frozen=True):
    """The body. A field that is left out, or null, has the instance's value."""

    members_per_organization: Limit | None = None
    applications_per_organization: Limit | None = None
    events_per_day: Limit | None = None
    event_types_per_application: Limit | None = None


_decoder = msgspec.json.Decoder(QuotasForm)


class QuotasShown(TypedDict):
    """Null: as the instance has it."""

    members_per_organization: int | None
    applications_per_organization: int | None
    events_per_day: int | None
    event_types_per_application: int | None


def list_routes() -> list[Operation]:
    path = "/organizations/{organization_id}/quotas"
    return [
        Operation("GET", path, show, answer=QuotasShown),
        Operation(
            "PUT",
            path,
            change,
            body=QuotasForm,
            answer=QuotasShown,
            headers=(IF_MATCH,),
            problems=("PreconditionFailed",),
        ),
    ]


async def show(request: web.Request) -> web.Response:
    """The organization's own quotas."""
    gateway, caller = request.app[GATEWAY], await authorize(request)
    organization_id = take_path_id(request, "organization_id")
    await caller.require_organization(organization_id)
    if await find_organization(gateway.pool, organization_id) is None:
        raise Problem("Forbidden")
    return _answer(await find_quotas(gateway.pool, organization_id))


async def change(request: web.Request) -> web.Response:
    """Set all quotas of an organization. With the master key only."""
    gateway, caller = request.app[GATEWAY], await authorize(request)
    form = await read_form(request, _decoder)
    organization_id = take_path_id(request, "organization_id")
    caller.require_master()
    quotas = OrganizationQuotas(**msgspec.structs.asdict(form))
    present = await find_quotas(gateway.pool, organization_id)
    was = present if require_match(request, asdict(present)) else None
    if not await change_quotas(gateway.pool, organization_id, quotas, was=was):
        raise Problem("Forbidden" if was is None else "PreconditionFailed")
    return _answer(quotas)


def _answer(quotas: OrganizationQuotas) -> web.Response:
    return add_tag(answer_json(asdict(quotas)), derive_tag(asdict(quotas)))


async def find_limits(
    gateway: Gateway, *, organization_id: str | None = None, application_id: str | None = None
) -> QuotasConfig:
    """The quotas of an organization, or of an application: its organization's own quotas, else the instance's."""
    if organization_id is not None:
        own = await find_quotas(gateway.fresh_pool, organization_id)
    else:
        own = await find_quotas_of_application(gateway.fresh_pool, application_id or "")
    quotas = gateway.settings.quotas
    return quotas.model_copy(update={name: limit for name, limit in asdict(own).items() if limit is not None})
