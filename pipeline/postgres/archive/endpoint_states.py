"""Endpoint health, as the API shows it with a subscription."""

from dataclasses import dataclass

from psycopg.rows import class_row

from pipeline.core.events.records import EndpointState
from pipeline.postgres.pool import Pool


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownState:
    """The state of one endpoint. 0 in a time: not so."""

    failing_since_us: int
    opened_until_us: int
    last_error: str | None


async def save_state(pool: Pool, state: EndpointState) -> None:
    """Keep the state, unless a newer one is there."""
    async with pool.connection() as connection:
        await connection.execute(
            "insert into endpoint_states as s (subscription_id, changed_at_us, failing_since_us, opened_until_us, "
            "last_error) values (%s, %s, %s, %s, %s) on conflict (subscription_id) do update set "
            "changed_at_us = excluded.changed_at_us, failing_since_us = excluded.failing_since_us, "
            "opened_until_us = excluded.opened_until_us, last_error = excluded.last_error "
            "where s.changed_at_us <= excluded.changed_at_us",
            (
                state.subscription_id,
                state.changed_at_us,
                state.failing_since_us,
                state.opened_until_us,
                (state.last_error or "").replace("\x00", "\ufffd") or None,
            ),
        )


async def find_state(pool: Pool, subscription_id: str) -> ShownState | None:
    """The endpoint's state; None: none was ever published."""
    found = await pool.fetch(
        b"select failing_since_us, opened_until_us, last_error from endpoint_states where subscription_id = %s",
        (subscription_id,),
        class_row(ShownState),
    )
    return found[0] if found else None
