"""Sessions of users: a token that renews the session, and short-lived ones that requests are made with."""

from dataclasses import dataclass
from datetime import datetime

from pipeline.core.rights import Actor, Grant, Role
from pipeline.postgres.pool import Pool

SESSIONS_MAX = 100  # of one user; the oldest end
# Two tabs may renew at the same moment, and an answer may get lost: only later is a token used twice a stolen one.
REUSE_GRACE_S = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionTokens:
    """Hashes of a session's new tokens, and until when they are valid."""

    access_hash: bytes
    access_expires_at: datetime
    refresh_hash: bytes
    refresh_expires_at: datetime


async def create_session(pool: Pool, session_id: str, user_id: str, tokens: SessionTokens) -> None:
    async with pool.connection() as connection, connection.transaction():
        await connection.execute("update users set last_login_at = now() where user_id = %s", (user_id,))
        await connection.execute(
            "delete from sessions where user_id = %(user_id)s and (refresh_expires_at < now() or session_id in "
            "(select session_id from sessions where user_id = %(user_id)s order by created_at desc offset %(most)s))",
            {"user_id": user_id, "most": SESSIONS_MAX - 1},
        )
        await connection.execute(
            "insert into sessions (session_id, user_id, refresh_hash, refresh_expires_at) values (%s, %s, %s, %s)",
            (session_id, user_id, tokens.refresh_hash, tokens.refresh_expires_at),
        )
        await connection.execute(
            "insert into access_tokens (token_hash, session_id, expires_at) values (%s, %s, %s)",
            (tokens.access_hash, session_id, tokens.access_expires_at),
        )


async def renew_session(pool: Pool, refresh_hash: bytes, tokens: SessionTokens) -> str | None:
    """The session's user; None when the token is not valid. One that was used before ends the session."""
    async with pool.connection() as connection, connection.transaction():
        cursor = await connection.execute(
            "update sessions set refresh_hash = %s, previous_refresh_hash = refresh_hash, refresh_expires_at = %s, "
            "refreshed_at = now() where refresh_hash = %s and refresh_expires_at > now() "
            "returning session_id::text, user_id::text",
            (tokens.refresh_hash, tokens.refresh_expires_at, refresh_hash),
        )
        row = await cursor.fetchone()
        if row is None:
            await connection.execute(
                "delete from sessions where previous_refresh_hash = %s and refreshed_at < now() - %s * interval '1 s'",
                (refresh_hash, REUSE_GRACE_S),
            )
            return None
        session_id, user_id = row
        await connection.execute(
            "delete from access_tokens where session_id = %s and expires_at < now()", (session_id,)
        )
        await connection.execute(
            "insert into access_tokens (token_hash, session_id, expires_at) values (%s, %s, %s)",
            (tokens.access_hash, session_id, tokens.access_expires_at),
        )
    return str(user_id)


async def end_session(pool: Pool, access_hash: bytes) -> None:
    """The session that an access token belongs to."""
    async with pool.connection() as connection:
        await connection.execute(
            "delete from sessions where session_id = (select session_id from access_tokens where token_hash = %s)",
            (access_hash,),
        )


async def find_session_id(pool: Pool, access_hash: bytes) -> str | None:
    """The session that an access token belongs to."""
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "select session_id::text from access_tokens where token_hash = %s", (access_hash,)
        )
        row = await cursor.fetchone()
    return str(row[0]) if row is not None else None


async def find_grant_of_session(pool: Pool, access_hash: bytes) -> Grant | None:
    """The rights of an access token that has not expired, of a session that has not ended."""
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "select s.user_id::text, extract(epoch from t.expires_at)::float8, "
            "array_agg(o.organization_id::text) filter (where o.organization_id is not null), "
            "array_agg(m.role) filter (where o.organization_id is not null) "
            "from access_tokens t join sessions s using (session_id) left join members m using (user_id) "
            "left join organizations o on o.organization_id = m.organization_id and o.deleted_at is null "
            "where t.token_hash = %s and t.expires_at > now() group by s.user_id, t.expires_at",
            (access_hash,),
        )
        row = await cursor.fetchone()
    if row is None:
        return None
    user_id, expires_at_s, organization_ids, roles = row
    return Grant(
        actor=Actor(kind="user", actor_id=user_id),
        # a role that only a newer release knows grants nothing here
        roles={
            each: Role(role)
            for each, role in zip(organization_ids or (), roles or (), strict=True)
            if role in Role.__members__.values()
        },
        token_hash=access_hash,
        expires_at_s=expires_at_s,
    )
