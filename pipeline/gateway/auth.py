"""Who is asking, and may they? `Authorization: Bearer TOKEN`, the prefix being optional.

A token is the master key, which may do everything; a service token, which may do everything within its organization; or
an application secret, which may do everything within its application. Forbidden and missing are indistinguishable to
callers: both answer 403.
"""

import re
from dataclasses import dataclass

from aiohttp import web

from pipeline.core.text import find_text_problem
from pipeline.gateway.context import GATEWAY, Gateway
from pipeline.gateway.problems import Problem
from pipeline.gateway.tokens import MASTER, Grant

SCHEME = re.compile("^Bearer(?= |$)", re.IGNORECASE)  # RFC 9110 §11.1: schemes are case-insensitive


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated client. The methods raise `Problem("Forbidden")`."""

    gateway: Gateway
    grant: Grant

    @property
    def is_master(self) -> bool:
        return self.grant is MASTER

    async def require_application(self, application_id: str) -> None:
        """May the caller act within this application, and does it exist?"""
        tokens, organization_id = self.gateway.tokens, self.grant.organization_id
        if self.grant.application_id not in (None, application_id):
            raise Problem("Forbidden")
        if organization_id is not None:
            is_allowed = await tokens.is_of_organization(application_id, organization_id)
        else:
            is_allowed = await tokens.has_application(application_id)
        if not is_allowed:
            raise Problem("Forbidden")

    def require_organization(self, organization_id: str) -> None:
        """May the caller act within this organization? Whether it exists is not asked."""
        if not self.is_master and self.grant.organization_id != organization_id:
            raise Problem("Forbidden")

    def require_master(self) -> None:
        """May the caller act beyond one organization?"""
        if not self.is_master:
            raise Problem("Forbidden")


async def authorize(request: web.Request) -> Caller:
    """The caller of a request. Raises `Problem`."""
    gateway = request.app[GATEWAY]
    token = read_token(request)
    return Caller(gateway, gateway.tokens.find_at_once(token) or await gateway.tokens.find(token))


def read_token(request: web.Request) -> str:
    """The token as it was sent. Raises `Problem` when there is none or it is no text."""
    header = request.headers.get("Authorization")
    if header is None:
        raise Problem("AuthNoAuthorizationHeader")
    # undecodable bytes arrive as lone surrogates
    if find_text_problem(header) is not None:
        raise Problem("AuthInvalidAuthorizationHeader")
    return SCHEME.sub("", header.strip(), count=1).strip()
