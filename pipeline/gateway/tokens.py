"""The rights of tokens: from memory (the view of the routes topic), and from PostgreSQL for tokens not known there yet.

A token minted by another gateway a moment ago may not have reached our view: who would be refused is looked up first.
"""

import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import TypeVar
from uuid import UUID

from pipeline.core.events.ids import read_uuid
from pipeline.core.rights import Actor, Grant
from pipeline.core.units import SECOND_US
from pipeline.gateway.problems import Problem
from pipeline.gateway.publishing import VIEW_WAIT_S
from pipeline.gateway.token_grants import TokenGrants
from pipeline.kafka.routes_view import RoutesView
from pipeline.postgres.control.applications import find_application_of_secret, find_published_version
from pipeline.postgres.control.service_tokens import find_grant_of_service_token
from pipeline.postgres.control.sessions import find_grant_of_session
from pipeline.postgres.places import Places
from pipeline.postgres.pool import DatabaseUnavailable, Pool
from pipeline.tenant import TENANT

UNKNOWN_MAX = 10_000
LOOKUPS_MAX = 4  # at once: a client that guesses tokens must not take all connections

T = TypeVar("T")


MASTER = Grant(actor=Actor(kind="master_key"))
# makes tokens recognisable, for us and for scanners of leaked secrets
SERVICE_PREFIX, ACCESS_PREFIX, REFRESH_PREFIX = "hookline_st_", "hookline_at_", "hookline_rt_"
TOKEN_BYTES = 32


class Tokens:
    """Answers by token. `master_key`: None when there is none. `clock_us`: by which tokens expire."""

    def __init__(
        self,
        routes: RoutesView,
        pool: Pool,
        *,
        master_key: UUID | None,
        unknown_ttl_s: float,
        clock_us: Callable[[], int],
    ) -> None:
        self.service = _make_grants(pool, find_grant_of_service_token, clock_us)
        self.sessions = _make_grants(pool, find_grant_of_session, clock_us)
        self._clock_us = clock_us
        self._routes = routes
        self._pool = pool
        self._master_hash = hash_token(str(master_key)) if master_key is not None else None
        self._unknown_ttl_s = unknown_ttl_s
        self._unknown: OrderedDict[bytes, float] = OrderedDict()  # until when
        self._lookups = Places(LOOKUPS_MAX)

    def find_at_once(self, token: str) -> Grant | None:
        """The rights of `token`, as far as memory knows."""
        # the form that clients send is looked up as it is; another spelling of the UUID comes through `find`
        token_hash = sha256(token.encode()).digest()
        application_id = self._routes.application_of(token_hash)
        if application_id is not None:
            return grant_application(application_id)
        if self._master_hash is not None and hmac.compare_digest(token_hash, self._master_hash):
            return MASTER
        return None

    async def find(self, token: str) -> Grant:
        """The rights of `token`. Raises `Problem`: AuthInvalidBiscuit, or ServiceUnavailable when no look-up works."""
        try:
            if token.startswith(SERVICE_PREFIX):
                return await self._find_granted(self.service, hash_token(token))
            if token.startswith(ACCESS_PREFIX):
                return await self._find_granted(self.sessions, hash_token(token))
            canonical = read_uuid(token)
        except ValueError:
            raise Problem("AuthInvalidBiscuit") from None
        grant = self.find_at_once(canonical)
        if grant is not None:
            return grant
        token_hash = hash_token(canonical)
        if self._unknown.get(token_hash, 0.0) > time.monotonic():
            raise Problem("AuthInvalidBiscuit")
        application_id = await self._ask(lambda: find_application_of_secret(self._pool, token_hash))
        if application_id is None:
            self._remember_unknown(token_hash)
            raise Problem("AuthInvalidBiscuit")
        return grant_application(application_id)

    async def find_again(self, grant: Grant) -> Grant | None:
        """The present rights of the same token; None: it has none, or they cannot have changed. Raises `Problem`.

        A role that another gateway gave a moment ago is not known here yet.
        """
        if grant.token_hash is None:
            return None
        grants = self.sessions if grant.user_id is not None else self.service
        grants.forget(grant.token_hash)
        token_hash = grant.token_hash
        return await self._ask(lambda: grants.find_grant(token_hash))

    async def _find_granted(self, grants: TokenGrants, token_hash: bytes) -> Grant:
        if self._unknown.get(token_hash, 0.0) > time.monotonic():
            raise Problem("AuthInvalidBiscuit")
        known = grants.find_at_once(token_hash)
        grant = known.grant if known is not None else None
        if grant is None or grant.expires_at_s <= self._clock_us() / SECOND_US:
            grant = await self._ask(lambda: grants.find_grant(token_hash))
        if grant is None:
            self._remember_unknown(token_hash)
            raise Problem("AuthInvalidBiscuit")
        return grant

    async def has_application(self, application_id: str) -> bool:
        """Does this application exist?"""
        if self._routes.organization_of(application_id) is not None:
            return True
        await self.catch_up(application_id)
        return self._routes.organization_of(application_id) is not None

    async def find_organization(self, application_id: str) -> str | None:
        """The organization of an application; None when there is no such application."""
        return self._routes.organization_of(application_id) if await self.has_application(application_id) else None

    async def catch_up(self, application_id: str) -> None:
        """Wait, bounded, until our view has what any gateway has published of this application."""
        version = await self._ask(lambda: find_published_version(self._pool, application_id))
        if version is not None:
            await self._routes.wait_for(application_id, version, VIEW_WAIT_S)

    async def _ask(self, question: Callable[[], Awaitable[T]]) -> T:
        try:
            async with self._lookups.hold(TENANT.get(), self._pool.timeout):
                return await question()
        except (TimeoutError, *DatabaseUnavailable) as error:
            raise Problem("ServiceUnavailable") from error

    def _remember_unknown(self, token_hash: bytes) -> None:
        self._unknown[token_hash] = time.monotonic() + self._unknown_ttl_s
        self._unknown.move_to_end(token_hash)
        if len(self._unknown) > UNKNOWN_MAX:
            self._unknown.popitem(last=False)


def grant_application(application_id: str) -> Grant:
    """The rights of a secret of this application."""
    return Grant(actor=Actor(kind="application_secret", actor_id=application_id), application_id=application_id)


def make_token(prefix: str) -> str:
    """A new random token."""
    return prefix + secrets.token_urlsafe(TOKEN_BYTES)


def hash_token(token: str) -> bytes:
    """The part of a token that is kept: enough to recognise it."""
    return sha256(token.encode()).digest()


def _make_grants(
    pool: Pool, find: Callable[[Pool, bytes], Awaitable[Grant | None]], clock_us: Callable[[], int]
) -> TokenGrants:
    return TokenGrants(
        lambda token_hash: find(pool, token_hash),
        clock=time.monotonic,
        wall_clock=lambda: clock_us() / SECOND_US,
    )
