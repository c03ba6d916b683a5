"""The caller of a request, and its rights: `Authorization: Bearer TOKEN`, the prefix being optional.

A token is the master key, which may do everything; a user's access token, which may do what the user's roles allow; a
service token, which may do everything within its organization that its limits allow; or an application secret, which
may do everything within its application. Forbidden and missing are indistinguishable to callers: both answer 403.
"""

import re
from dataclasses import dataclass
from typing import Protocol, TypeVar
from uuid import UUID

import msgspec
from aiohttp import web

from pipeline.core.events.text import find_text_problem
from pipeline.core.rights import INGEST, READING, Grant, name_right
from pipeline.gateway.bodies import read_form
from pipeline.gateway.client_address import find_client_address
from pipeline.gateway.context import GATEWAY, Gateway, find_tenant
from pipeline.gateway.operations import OPERATION
from pipeline.gateway.problems import Problem
from pipeline.gateway.tokens import MASTER
from pipeline.postgres.control.acting import act_as
from pipeline.tenant import work_for

SCHEME = re.compile("^Bearer(?= |$)", re.IGNORECASE)  # RFC 9110 §11.1: schemes are case-insensitive


class ApplicationForm(Protocol):
    """A request body about one application."""

    @property
    def application_id(self) -> UUID: ...


F = TypeVar("F", bound=ApplicationForm)


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated client. The methods raise `Problem("Forbidden")`. `right`: required by its request."""

    gateway: Gateway
    grant: Grant
    right: str

    @property
    def is_master(self) -> bool:
        return self.grant is MASTER

    async def require_application(self, application_id: str) -> None:
        """May the caller act within this application, and does it exist?"""
        tokens = self.gateway.tokens
        if self.grant.application_id not in (None, application_id):
            raise Problem("Forbidden")
        organization_id = await tokens.find_organization(application_id)
        if organization_id is None:
            raise Problem("Forbidden")
        if self.grant.application_id is None:
            await self._require(organization_id, application_id)

    async def require_organization(self, organization_id: str) -> None:
        """May the caller act within this organization? Whether it exists is not asked."""
        await self._require(organization_id, None)

    def require_master(self) -> None:
        """May the caller act beyond one organization?"""
        if not self.is_master:
            raise Problem("Forbidden")

    async def may(self, right: str, application_id: str) -> bool:
        """May the caller do this as well, within an application that it may act in?"""
        if self.is_master or self.grant.application_id is not None:
            return True
        organization_id = await self.gateway.tokens.find_organization(application_id)
        return organization_id is not None and self.grant.allows(right, organization_id, application_id)

    async def _require(self, organization_id: str, application_id: str | None) -> None:
        if self.is_master or self.grant.allows(self.right, organization_id, application_id):
            return
        # it may have been allowed a moment ago
        grant = await self.gateway.tokens.find_again(self.grant)
        if grant is None or not grant.allows(self.right, organization_id, application_id):
            raise Problem("Forbidden")


async def authorize(request: web.Request) -> Caller:
    """The caller of a request. Raises `Problem`."""
    gateway = request.app[GATEWAY]
    token = read_token(request)
    grant = gateway.tokens.find_at_once(token) or await gateway.tokens.find(token)
    work_for(_name_tenant(gateway, grant))
    right = find_right(request)
    if right is not INGEST and request.method not in READING:
        act_as(grant.actor.kind, grant.actor.actor_id, find_client_address(request))
    return Caller(gateway, grant, right)


def _name_tenant(gateway: Gateway, grant: Grant) -> str:
    """The tenant whose request it is: the organization, if it is one. Others share the gateway with it."""
    if grant.application_id is not None:
        return find_tenant(gateway, grant.application_id)
    if len(grant.roles) == 1:
        return next(iter(grant.roles))
    return grant.actor.actor_id or grant.actor.kind


async def read_own_form(request: web.Request, decoder: "msgspec.json.Decoder[F]") -> tuple[Caller, F, str]:
    """The caller, the body, and the id of the application it names, in which the caller may act. Raises `Problem`."""
    caller = await authorize(request)
    form = await read_form(request, decoder)
    application_id = str(form.application_id)
    await caller.require_application(application_id)
    return caller, form, application_id


def find_right(request: web.Request) -> str:
    """The right that a request needs."""
    return name_right(request.method, request[OPERATION].path)


def read_token(request: web.Request) -> str:
    """The token as it was sent. Raises `Problem` when there is none or it is no text."""
    header = request.headers.get("Authorization")
    if header is None:
        raise Problem("AuthNoAuthorizationHeader")
    # undecodable bytes arrive as lone surrogates
    if find_text_problem(header) is not None:
        raise Problem("AuthInvalidAuthorizationHeader")
    return strip_scheme(header)


def strip_scheme(header: str) -> str:
    """The token of an `Authorization` header's value."""
    return SCHEME.sub("", header.strip(), count=1).strip()
