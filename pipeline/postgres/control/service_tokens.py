"""Service tokens: recognised by their hash, shown again from their sealed form."""

import math
from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import class_row

from pipeline.core.rights import Actor, Grant, Limits, Role
from pipeline.core.signing.sealing import Sealed
from pipeline.postgres.control.sealed_secrets import Reseal
from pipeline.postgres.pool import Pool
from pipeline.postgres.rows import fetch_rows

COLUMNS = (
    "token_id::text, organization_id::text, token_hash, name, key_id, sealed, created_at, "
    "scopes, application_ids::text[], expires_at"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceToken:
    """One valid token, sealed with its organization's id as context."""

    token_id: str
    organization_id: str
    token_hash: bytes
    name: str
    key_id: str
    sealed: bytes
    created_at: datetime
    scopes: list[str] | None = None
    application_ids: list[str] | None = None
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLimits:
    """The limits of a token; None: not limited."""

    scopes: list[str] | None = None
    application_ids: list[str] | None = None
    expires_at: datetime | None = None


async def create_token(pool: Pool, token: ServiceToken) -> bool:
    """Create a token. False: there is no such organization."""
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "insert into service_tokens (token_id, organization_id, token_hash, name, key_id, sealed, created_at, "
            "scopes, application_ids, expires_at) "
            "select %(token_id)s, organization_id, %(token_hash)s, %(name)s, %(key_id)s, %(sealed)s, %(created_at)s, "
            "%(scopes)s, %(application_ids)s::uuid[], %(expires_at)s "
            "from organizations where organization_id = %(organization_id)s and deleted_at is null",
            {
                "token_id": token.token_id,
                "organization_id": token.organization_id,
                "token_hash": token.token_hash,
                "name": token.name,
                "key_id": token.key_id,
                "sealed": token.sealed,
                "created_at": token.created_at,
                "scopes": token.scopes,
                "application_ids": token.application_ids,
                "expires_at": token.expires_at,
            },
        )
        return cursor.rowcount == 1


async def list_tokens(pool: Pool, organization_id: str) -> list[ServiceToken]:
    """Tokens that are not revoked, oldest first."""
    async with pool.connection() as connection, connection.cursor(row_factory=class_row(ServiceToken)) as cursor:
        await cursor.execute(
            f"select {COLUMNS} from service_tokens "  # noqa: S608 - constants
            "where organization_id = %s and deleted_at is null order by created_at, token_id",
            (organization_id,),
        )
        return await fetch_rows(cursor)


async def find_token(pool: Pool, organization_id: str, token_id: str) -> ServiceToken | None:
    """Find a valid token of this organization; None: there is none."""
    async with pool.connection() as connection, connection.cursor(row_factory=class_row(ServiceToken)) as cursor:
        await cursor.execute(
            f"select {COLUMNS} from service_tokens "  # noqa: S608 - constants
            "where organization_id = %s and token_id = %s and deleted_at is null",
            (organization_id, token_id),
        )
        return await cursor.fetchone()


async def change_token(
    pool: Pool,
    organization_id: str,
    token_id: str,
    name: str,
    limits: TokenLimits,
    *,
    was: tuple[str, TokenLimits] | None = None,
) -> bool:
    """Change a token. False: there is no such valid one, or its name and limits are not `was`."""
    known_name, known = was if was is not None else (None, TokenLimits())
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "update service_tokens set name = %s, scopes = %s, application_ids = %s::uuid[], expires_at = %s "
            "where organization_id = %s and token_id = %s and deleted_at is null "
            "and (%s or (name, scopes, application_ids, expires_at) is not distinct from "
            "(%s::text, %s::text[], %s::uuid[], %s::timestamptz))",
            (
                name,
                limits.scopes,
                limits.application_ids,
                limits.expires_at,
                organization_id,
                token_id,
                was is None,
                known_name,
                known.scopes,
                known.application_ids,
                known.expires_at,
            ),
        )
        return cursor.rowcount == 1


async def revoke_token(pool: Pool, organization_id: str, token_id: str) -> bytes | None:
    """The hash of the revoked token; None when there is no such valid one."""
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "update service_tokens set deleted_at = now() "
            "where organization_id = %s and token_id = %s and deleted_at is null returning token_hash",
            (organization_id, token_id),
        )
        row = await cursor.fetchone()
    return bytes(row[0]) if row is not None else None


async def find_grant_of_service_token(pool: Pool, token_hash: bytes) -> Grant | None:
    """The rights of a token that is neither revoked nor expired."""
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "select t.token_id::text, t.organization_id::text, t.scopes, t.application_ids::text[], "
            "extract(epoch from t.expires_at)::float8 "
            "from service_tokens t join organizations o using (organization_id) "
            "where t.token_hash = %s and t.deleted_at is null and o.deleted_at is null "
            "and (t.expires_at is null or t.expires_at > now())",
            (token_hash,),
        )
        row = await cursor.fetchone()
    if row is None:
        return None
    token_id, organization_id, scopes, application_ids, expires_at_s = row
    is_limited = any(limit is not None for limit in (scopes, application_ids, expires_at_s))
    limits = Limits(
        scopes=frozenset(scopes) if scopes is not None else None,
        application_ids=frozenset(application_ids) if application_ids is not None else None,
    )
    return Grant(
        actor=Actor(kind="service_token", actor_id=token_id),
        roles={organization_id: Role.EDITOR},
        limits=limits if is_limited else None,
        token_hash=token_hash,
        expires_at_s=expires_at_s if expires_at_s is not None else math.inf,
    )


async def count_tokens_to_reseal(pool: Pool, key_id: str) -> int:
    """How many valid tokens are sealed with another key than `key_id`."""
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "select count(*) from service_tokens where deleted_at is null and key_id <> %s", (key_id,)
        )
        row = await cursor.fetchone()
    assert row is not None  # noqa: S101 - a count has one row
    return int(row[0])


async def reseal_tokens(pool: Pool, key_id: str, reseal: Reseal) -> int:
    """Seal every valid token again that is not sealed with `key_id`; how many. All of them, or none."""
    async with pool.connection() as connection, connection.transaction():
        cursor = await connection.execute(
            "select token_id, organization_id::text, key_id, sealed from service_tokens "
            "where deleted_at is null and key_id <> %s for update",
            (key_id,),
        )
        rows = await cursor.fetchall()
        for token_id, organization_id, old_key_id, sealed in rows:
            new = reseal(Sealed(key_id=old_key_id, sealed=sealed), organization_id)
            await connection.execute(
                "update service_tokens set key_id = %s, sealed = %s where token_id = %s",
                (new.key_id, new.sealed, token_id),
            )
    return len(rows)
