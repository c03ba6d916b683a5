"""Logins by an OpenID provider, between going there and coming back; and the users that come."""

from dataclasses import dataclass
from datetime import datetime

from pipeline.postgres.control.users import User, find_user
from pipeline.postgres.pool import Pool

LOGINS_FORGOTTEN = 100  # expired ones, with each new one


@dataclass(frozen=True, slots=True, kw_only=True)
class BegunLogin:
    """The values that the provider's answer must fit."""

    nonce: str
    code_verifier: str


async def save_login(pool: Pool, state_hash: bytes, login: BegunLogin, expires_at: datetime) -> None:
    async with pool.connection() as connection, connection.transaction():
        await connection.execute(
            "delete from oidc_logins where state_hash in "
            "(select state_hash from oidc_logins where expires_at < now() limit %s for update skip locked)",
            (LOGINS_FORGOTTEN,),
        )
        await connection.execute(
            "insert into oidc_logins (state_hash, nonce, code_verifier, expires_at) values (%s, %s, %s, %s)",
            (state_hash, login.nonce, login.code_verifier, expires_at),
        )


async def take_login(pool: Pool, state_hash: bytes) -> BegunLogin | None:
    """Take a begun login, once; None when there is none, or it has expired."""
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "delete from oidc_logins where state_hash = %s returning nonce, code_verifier, expires_at > now()",
            (state_hash,),
        )
        row = await cursor.fetchone()
    return BegunLogin(nonce=row[0], code_verifier=row[1]) if row is not None and row[2] else None


async def find_user_of_provider(pool: Pool, issuer: str, subject: str) -> User | None:
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "select user_id::text from users where oidc_issuer = %s and oidc_subject = %s", (issuer, subject)
        )
        row = await cursor.fetchone()
    return await find_user(pool, row[0]) if row is not None else None


async def link_user(pool: Pool, email: str, issuer: str, subject: str) -> User | None:
    """The user of a verified address who has no provider yet is this one from now on; None when there is none."""
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "update users set oidc_issuer = %s, oidc_subject = %s where email_key = %s and oidc_subject is null "
            "and email_verified_at is not null returning user_id::text",
            (issuer, subject, email.lower()),
        )
        row = await cursor.fetchone()
    return await find_user(pool, row[0]) if row is not None else None
