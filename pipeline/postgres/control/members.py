"""Members of organizations, and their roles."""

from dataclasses import dataclass
from typing import Literal

from psycopg.rows import class_row

from pipeline.core.rights import Role
from pipeline.postgres.pool import Pool
from pipeline.postgres.rows import fetch_rows

Addition = Literal["added", "member already", "too many", "no organization"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A user in an organization."""

    user_id: str
    email: str
    first_name: str
    last_name: str
    role: str


async def list_members(pool: Pool, organization_id: str) -> list[Member]:
    """Members, in the order in which they joined."""
    async with pool.connection() as connection, connection.cursor(row_factory=class_row(Member)) as cursor:
        await cursor.execute(
            "select m.user_id::text, u.email, u.first_name, u.last_name, m.role "
            "from members m join users u using (user_id) where m.organization_id = %s "
            "order by m.created_at, m.user_id",
            (organization_id,),
        )
        return await fetch_rows(cursor)


async def add_member(pool: Pool, organization_id: str, user_id: str, role: Role, *, members_max: int) -> Addition:
    async with pool.connection() as connection, connection.transaction():
        # others who add a member wait here, so that they count this one
        cursor = await connection.execute(
            "select from organizations where organization_id = %s and deleted_at is null for no key update",
            (organization_id,),
        )
        if await cursor.fetchone() is None:
            return "no organization"
        cursor = await connection.execute(
            "select count(*), coalesce(bool_or(user_id = %s), false) from members where organization_id = %s",
            (user_id, organization_id),
        )
        row = await cursor.fetchone()
        assert row is not None  # noqa: S101 - a count has one row
        members, is_member = row
        if is_member:
            return "member already"
        if members >= members_max:
            return "too many"
        await connection.execute(
            "insert into members (organization_id, user_id, role) values (%s, %s, %s)", (organization_id, user_id, role)
        )
    return "added"


async def remove_member(pool: Pool, organization_id: str, user_id: str) -> bool:
    """Remove a member. False: there is none."""
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "delete from members where organization_id = %s and user_id = %s", (organization_id, user_id)
        )
        return cursor.rowcount == 1


async def change_role(pool: Pool, organization_id: str, user_id: str, role: Role) -> bool:
    """Give a member another role. False: there is no such member."""
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "update members set role = %s where organization_id = %s and user_id = %s", (role, organization_id, user_id)
        )
        return cursor.rowcount == 1
