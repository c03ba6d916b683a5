"""Who is asking, and may they? `Authorization: Bearer TOKEN`, the prefix being optional.

A token is the master key, which may do everything, or an application secret, which may do everything within its
application and nothing outside of it. What is not allowed and what does not exist are told apart by nobody: both 403.
"""

from dataclasses import dataclass

from aiohttp import web

from pipeline.gateway.context import GATEWAY, Gateway
from pipeline.gateway.problems import Problem
from pipeline.gateway.tokens import MASTER, Grant

PREFIX = "Bearer "


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
        if self.grant.application_id not in (None, application_id):
            raise Problem("Forbidden")
        if not await self.gateway.tokens.has_application(application_id):
            raise Problem("Forbidden")

    def require_master(self) -> None:
        """May the caller act beyond one application?"""
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
    try:
        # undecodable bytes arrive as lone surrogates
        header.encode()
    except UnicodeEncodeError:
        raise Problem("AuthInvalidAuthorizationHeader") from None
    return header.strip().removeprefix(PREFIX).strip()
