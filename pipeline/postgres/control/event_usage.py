"""How many events were accepted over HTTP on a day, as all gateways together count them."""

from collections.abc import Mapping, Sequence
from datetime import date

from pipeline.postgres.pool import Pool


async def add_usage(pool: Pool, day: date, amounts: Mapping[str, int]) -> dict[str, int]:
    """Add what one gateway accepted, by application; what all have accepted by now."""
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "insert into event_usage (application_id, day, amount) "
            # in one order, so that two gateways do not wait for each other
            "select id, %s, amount from unnest(%s::uuid[], %s::bigint[]) as added (id, amount) order by id "
            "on conflict (application_id, day) do update set amount = event_usage.amount + excluded.amount "
            "returning application_id::text, amount",
            (day, list(amounts), list(amounts.values())),
        )
        return {str(application_id): int(amount) for application_id, amount in await cursor.fetchall()}


async def read_usage(pool: Pool, day: date, application_ids: Sequence[str]) -> dict[str, int]:
    """Read the use by application; applications without events are left out."""
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "select application_id::text, amount from event_usage where day = %s and application_id = any(%s::uuid[])",
            (day, list(application_ids)),
        )
        return {str(application_id): int(amount) for application_id, amount in await cursor.fetchall()}


async def forget_usage(pool: Pool, *, before: date) -> None:
    """Days that no quota asks for any more."""
    async with pool.connection() as connection:
        await connection.execute("delete from event_usage where day < %s", (before,))
