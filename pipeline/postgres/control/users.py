"""Users: people who log in."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, LiteralString

from psycopg import errors
from psycopg.rows import class_row

from pipeline.core.rights import Role
from pipeline.postgres.pool import Pool

Purpose = Literal["verify", "reset"]
COLUMNS = "user_id::text, email, first_name, last_name, password_hash, email_verified_at, created_at, last_login_at"


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """One user. `password_hash`: None when there is no password."""

    user_id: str
    email: str
    first_name: str
    last_name: str
    password_hash: str | None
    email_verified_at: datetime | None
    created_at: datetime
    last_login_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstOrganization:
    """The organization that a new user gets."""

    organization_id: str
    name: str


class UserExistsError(Exception):
    """The address is another user's."""


async def create_user(
    pool: Pool, user: User, organization: FirstOrganization, *, oidc: tuple[str, str] | None = None
) -> None:
    """A user, and an organization of which it is the editor. `oidc`: issuer and subject. Raises `UserExistsError`."""
    issuer, subject = oidc or (None, None)
    try:
        async with pool.connection() as connection, connection.transaction():
            await connection.execute(
                "insert into users (user_id, email, email_key, first_name, last_name, password_hash, "
                "email_verified_at, oidc_issuer, oidc_subject, created_at) "
                "values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
                (
                    user.user_id,
                    user.email,
                    user.email.lower(),
                    user.first_name,
                    user.last_name,
                    user.password_hash,
                    user.email_verified_at,
                    issuer,
                    subject,
                    user.created_at,
                ),
            )
            await connection.execute(
                "insert into organizations (organization_id, name) values (%s, %s)",
                (organization.organization_id, organization.name),
            )
            await connection.execute(
                "insert into members (organization_id, user_id, role) values (%s, %s, %s)",
                (organization.organization_id, user.user_id, Role.EDITOR),
            )
    except errors.UniqueViolation as error:
        raise UserExistsError from error


async def find_user_by_email(pool: Pool, email: str) -> User | None:
    """Upper and lower case are the same."""
    return await _find(pool, "email_key = %s", email.lower())


async def find_user(pool: Pool, user_id: str) -> User | None:
    return await _find(pool, "user_id = %s", user_id)


async def list_users(pool: Pool, *, email: str | None, after: str | None, most: int) -> list[User]:
    """Users in the order of their ids, behind `after`; only the one with `email`, if it is given."""
    async with pool.connection() as connection, connection.cursor(row_factory=class_row(User)) as cursor:
        await cursor.execute(
            f"select {COLUMNS} from users where (%(email)s::text is null or email_key = %(email)s) "  # noqa: S608 - constants
            "and (%(after)s::uuid is null or user_id > %(after)s) order by user_id limit %(most)s",
            {"email": email.lower() if email is not None else None, "after": after, "most": most},
        )
        return await cursor.fetchall()


async def delete_user(pool: Pool, user_id: str) -> bool:
    """Delete a user with memberships and sessions. False when there is none."""
    async with pool.connection() as connection:
        cursor = await connection.execute("delete from users where user_id = %s", (user_id,))
        return cursor.rowcount == 1


async def replace_password_hash(pool: Pool, user_id: str, old: str, new: str) -> None:
    """Store the same password hashed with today's costs, unless the password was changed meanwhile."""
    async with pool.connection() as connection:
        await connection.execute(
            "update users set password_hash = %s where user_id = %s and password_hash = %s", (new, user_id, old)
        )


async def set_password(pool: Pool, user_id: str, password_hash: str, *, kept_session_id: str | None = None) -> bool:
    """A new password. All sessions end but `kept_session_id`, and links to set another one are void.

    False when there is no such user.
    """
    async with pool.connection() as connection, connection.transaction():
        cursor = await connection.execute(
            "update users set password_hash = %s where user_id = %s", (password_hash, user_id)
        )
        if cursor.rowcount == 0:
            return False
        await connection.execute(
            "delete from sessions where user_id = %s and session_id is distinct from %s", (user_id, kept_session_id)
        )
        await connection.execute("delete from mail_tokens where user_id = %s and purpose = 'reset'", (user_id,))
    return True


async def verify_email(pool: Pool, user_id: str) -> bool:
    """Mark an address as verified. False: it was before, or there is no such user."""
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "update users set email_verified_at = now() where user_id = %s and email_verified_at is null", (user_id,)
        )
        return cursor.rowcount == 1


async def save_mail_token(
    pool: Pool, user_id: str, token_hash: bytes, purpose: Purpose, expires_at: datetime, *, most: int
) -> None:
    """Save the token of a link. Of one purpose only the newest `most` stay valid."""
    async with pool.connection() as connection, connection.transaction():
        await connection.execute(
            "insert into mail_tokens (token_hash, user_id, purpose, expires_at) values (%s, %s, %s, %s)",
            (token_hash, user_id, purpose, expires_at),
        )
        await connection.execute(
            "delete from mail_tokens where user_id = %(user_id)s and purpose = %(purpose)s and token_hash not in "
            "(select token_hash from mail_tokens where user_id = %(user_id)s and purpose = %(purpose)s "
            "order by expires_at desc limit %(most)s)",
            {"user_id": user_id, "purpose": purpose, "most": most},
        )


async def find_user_of_mail_token(pool: Pool, token_hash: bytes, purpose: Purpose) -> str | None:
    """The user of a link that has not expired."""
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "select user_id::text from mail_tokens where token_hash = %s and purpose = %s and expires_at > now()",
            (token_hash, purpose),
        )
        row = await cursor.fetchone()
    return str(row[0]) if row is not None else None


async def _find(pool: Pool, condition: LiteralString, value: str) -> User | None:
    async with pool.connection() as connection, connection.cursor(row_factory=class_row(User)) as cursor:
        await cursor.execute(f"select {COLUMNS} from users where {condition}", (value,))  # noqa: S608 - constants
        return await cursor.fetchone()
