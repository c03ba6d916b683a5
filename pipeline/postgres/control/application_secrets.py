"""Application secrets: recognised by their hash, shown again from their sealed form."""

from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import class_row

from pipeline.postgres.control.applications import raise_version
from pipeline.postgres.pool import Pool
from pipeline.postgres.rows import fetch_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicationSecret:
    """One secret, sealed. `deleted_at`: when it was revoked; None: it is valid."""

    token_hash: bytes
    application_id: str
    name: str | None
    key_id: str
    sealed: bytes
    created_at: datetime
    deleted_at: datetime | None = None


async def create_secret(pool: Pool, secret: ApplicationSecret) -> bool:
    """Create a secret. False: there is no such application."""
    async with pool.connection() as connection, connection.transaction():
        version = await raise_version(connection, secret.application_id)
        if version is None:
            return False
        await connection.execute(
            "insert into application_secrets (token_hash, application_id, name, key_id, sealed, created_at, "
            "changed_version) values (%s, %s, %s, %s, %s, %s, %s)",
            (
                secret.token_hash,
                secret.application_id,
                secret.name,
                secret.key_id,
                secret.sealed,
                secret.created_at,
                version,
            ),
        )
    return True


async def list_secrets(pool: Pool, application_id: str) -> list[ApplicationSecret]:
    """List the valid secrets, oldest first."""
    async with pool.connection() as connection, connection.cursor(row_factory=class_row(ApplicationSecret)) as cursor:
        await cursor.execute(
            "select token_hash, application_id::text, name, key_id, sealed, created_at, deleted_at "
            "from application_secrets where application_id = %s and deleted_at is null order by created_at, token_hash",
            (application_id,),
        )
        return await fetch_rows(cursor)


async def rename_secret(pool: Pool, application_id: str, token_hash: bytes, name: str | None) -> datetime | None:
    """Rename a secret; returns its creation time, None when there is no such valid secret. Names are not published."""
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "update application_secrets set name = %s where application_id = %s and token_hash = %s "
            "and deleted_at is null returning created_at",
            (name, application_id, token_hash),
        )
        row = await cursor.fetchone()
    return row[0] if row is not None else None


async def revoke_secret(pool: Pool, application_id: str, token_hash: bytes) -> bool:
    """Revoke a secret. False: there is no such valid one."""
    async with pool.connection() as connection, connection.transaction():
        version = await raise_version(connection, application_id)
        if version is None:
            return False
        cursor = await connection.execute(
            "update application_secrets set deleted_at = now(), changed_version = %s "
            "where application_id = %s and token_hash = %s and deleted_at is null",
            (version, application_id, token_hash),
        )
        return cursor.rowcount == 1
