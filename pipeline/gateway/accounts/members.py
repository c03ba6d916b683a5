"""`/organizations/{id}/invite`: who is a member of an organization, and as what."""

from typing import TypedDict
from uuid import UUID

import msgspec
from aiohttp import web

from pipeline.core.rights import Role
from pipeline.gateway.accounts.forms import check_email
from pipeline.gateway.answers import Id, answer_json
from pipeline.gateway.auth import authorize
from pipeline.gateway.bodies import Form, read_form
from pipeline.gateway.context import GATEWAY
from pipeline.gateway.control.organization_quotas import find_limits
from pipeline.gateway.operations import Operation
from pipeline.gateway.problems import Problem
from pipeline.gateway.reads.queries import take_path_id
from pipeline.gateway.validation import Findings
from pipeline.postgres.control.members import add_member, change_role, remove_member
from pipeline.postgres.control.users import find_user_by_email

MEMBERS_MAX = 10_000


class InviteForm(Form, frozen=True):
    """The body of an invitation."""

    email: str
    role: str


class RevokeForm(Form, frozen=True):
    """The body that removes a member."""

    user_id: UUID


class RoleForm(Form, frozen=True):
    """The body that gives a member another role."""

    user_id: UUID
    role: str


_invite_decoder = msgspec.json.Decoder(InviteForm)
_revoke_decoder = msgspec.json.Decoder(RevokeForm)
_role_decoder = msgspec.json.Decoder(RoleForm)


class InvitationShown(TypedDict):
    """An invited person with the role."""

    email: str
    role: str


class RevocationShown(TypedDict):
    """A person whose membership has ended."""

    user_id: Id


class RoleShown(TypedDict):
    """The role of a member."""

    user_id: Id
    role: str


def list_routes() -> list[Operation]:
    path = "/organizations/{organization_id}/invite"
    refusals = ("InvitedUserDoesNotExist", "InvitedUserAlreadyInOrganization", "TooManyMembersPerOrganization")
    return [
        Operation("POST", path, invite, body=InviteForm, answer=InvitationShown, problems=(*refusals, "InvalidRole")),
        Operation("DELETE", path, revoke, body=RevokeForm, answer=RevocationShown),
        Operation("PUT", path, change, body=RoleForm, answer=RoleShown, problems=("InvalidRole",)),
    ]


async def invite(request: web.Request) -> web.Response:
    """A user becomes a member at once."""
    gateway, caller = request.app[GATEWAY], await authorize(request)
    form = await read_form(request, _invite_decoder)
    organization_id = take_path_id(request, "organization_id")
    await caller.require_organization(organization_id)
    findings = Findings()
    check_email(findings, form.email)
    findings.raise_if_any()
    role = _read_role(form.role)
    user = await find_user_by_email(gateway.pool, form.email)
    if user is None:
        raise Problem("InvitedUserDoesNotExist")
    most = (await find_limits(gateway, organization_id=organization_id)).members_per_organization or MEMBERS_MAX
    match await add_member(gateway.pool, organization_id, user.user_id, role, members_max=most):
        case "member already":
            raise Problem("InvitedUserAlreadyInOrganization")
        case "too many":
            raise Problem("TooManyMembersPerOrganization", detail=f"An organization may have {most} members.")
        case "no organization":
            raise Problem("Forbidden")
        case "added":
            return answer_json({"email": form.email, "role": role})


async def revoke(request: web.Request) -> web.Response:
    """End a membership: the person's tokens do nothing here within a second, at every gateway."""
    gateway, caller = request.app[GATEWAY], await authorize(request)
    form = await read_form(request, _revoke_decoder)
    organization_id = take_path_id(request, "organization_id")
    await caller.require_organization(organization_id)
    if not await remove_member(gateway.pool, organization_id, str(form.user_id)):
        raise Problem("NotFound")
    return answer_json({"user_id": str(form.user_id)})


async def change(request: web.Request) -> web.Response:
    """Give a member another role, within a second at every gateway."""
    gateway, caller = request.app[GATEWAY], await authorize(request)
    form = await read_form(request, _role_decoder)
    organization_id = take_path_id(request, "organization_id")
    await caller.require_organization(organization_id)
    role = _read_role(form.role)
    if not await change_role(gateway.pool, organization_id, str(form.user_id), role):
        raise Problem("NotFound")
    return answer_json({"user_id": str(form.user_id), "role": role})


def _read_role(text: str) -> Role:
    try:
        return Role(text)
    except ValueError:
        raise Problem("InvalidRole", detail=f"A role is one of {', '.join(Role)}.") from None
