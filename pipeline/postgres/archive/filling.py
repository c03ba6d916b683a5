"""Filling the archive with made-up rows, for benchmarks: how does it do when it holds a lot?

The rows are made by the server itself. They look like those of real events: ids that rise with time for events, random
ones for deliveries and attempts, a hundred applications, a thousand subscriptions; bodies and headers are short.
"""

from collections.abc import Callable

from pipeline.postgres.archive.partitions import ensure_days
from pipeline.postgres.archive.tables import ATTEMPTS, DELIVERIES, DISPATCHES, EVENTS, today
from pipeline.postgres.pool import Pool

BATCH_EVENTS = 50_000
ROWS_PER_EVENT = 4  # an event, its dispatch, a delivery, an attempt

# What each table's columns are made of, from `n`, the number of the event, and `now_us`.
COMMON = {
    "day": "%(day)s",
    "application_id": "md5('application ' || n %% 100)::uuid",
    "event_id": "(lpad(to_hex(%(now_us)s / 1000 + n / 1000), 12, '0') || '70008000' || lpad(to_hex(n), 12, '0'))::uuid",
    "event_type": "'shop.order.placed'",
    "appended_at_us": "%(now_us)s + n",
    "received_at_us": "%(now_us)s + n",
    "matched_at_us": "%(now_us)s + n",
    "event_partition": "n %% 8",
    "event_offset": "n",
    "delivery_id": "md5('delivery ' || n)::uuid",
    "subscription_id": "md5('subscription ' || n %% 1000)::uuid",
}
VALUES = {
    EVENTS: COMMON
    | {
        "payload": "repeat('x', 200)::bytea",
        "payload_compressed": "false",
        "payload_content_type": "'application/json'",
        "labels": "'{}'",
        "metadata": "'{}'",
        "occurred_at_us": "%(now_us)s + n",
        "ip": "null",
    },
    DISPATCHES: COMMON | {"routes_version": "1", "matches_count": "1"},
    DELIVERIES: COMMON | {"first_attempt_id": "md5('attempt ' || n)::uuid"},
    ATTEMPTS: COMMON
    | {
        "attempt_number": "1",
        "attempt_id": "md5('attempt ' || n)::uuid",
        "outcome": "'succeeded'",
        "error_class": "null",
        "error_detail": "null",
        "queued_at_us": "%(now_us)s + n",
        "started_at_us": "%(now_us)s + n",
        "finished_at_us": "%(now_us)s + n",
        "request_method": "'POST'",
        "request_url": "'https://example.com/hooks'",
        "request_headers": """'{"content-type":"application/json"}'""",
        "response_status": "200",
        "response_headers": "'{}'",
        "response_body": "''",
        "response_compressed": "false",
        "timings_us": "'{}'",
        "next_due_at_us": "null",
        "next_attempt_id": "md5('next ' || n)::uuid",
        "source_topic": "'hookline.deliveries'",
        "source_partition": "n %% 8",
        "source_offset": "n",
    },
}


async def fill_archive(pool: Pool, rows: int, *, now_us: int, progress: Callable[[int], None]) -> None:
    """Add so many rows, all on today's date, and analyze the tables. `progress` is called with the number of rows."""
    events = rows // ROWS_PER_EVENT
    async with pool.connection() as connection:
        await connection.set_autocommit(True)  # a transaction a statement; `vacuum` stands none around it
        try:
            # else an archive that has just started makes the day's partition while rows go to the default one
            await ensure_days(connection, [today(now_us)])
            for first in range(0, events, BATCH_EVENTS):
                end = min(first + BATCH_EVENTS, events)
                for table, values in VALUES.items():
                    columns = ", ".join(table.columns)
                    selected = ", ".join(values[column] for column in table.columns)
                    await connection.execute(
                        f"insert into {table.name} ({columns}) select {selected} "  # noqa: S608 - our own names
                        "from generate_series(%(first)s::bigint, %(last)s::bigint) n".encode(),
                        {"day": today(now_us), "now_us": now_us, "first": first, "last": end - 1},
                    )
                progress(end * ROWS_PER_EVENT)
            for table in VALUES:
                await connection.execute(f"vacuum (analyze) {table.name}".encode())
            await connection.execute("checkpoint")
        finally:
            await connection.set_autocommit(False)


async def adopt_filled(pool: Pool, application_id: str) -> None:
    """Give an application that exists the rows of one of those that were made up."""
    async with pool.connection() as connection:
        for table in VALUES:
            await connection.execute(
                f"update {table.name} set application_id = %s "  # noqa: S608 - our own names
                "where application_id = md5('application 0')::uuid".encode(),
                (application_id,),
            )


async def list_filled_ids(pool: Pool, application_id: str) -> tuple[list[str], list[str]]:
    """List the application's events, and the attempts of their deliveries."""
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "select event_id::text, first_attempt_id::text from deliveries where application_id = %s", (application_id,)
        )
        rows = await cursor.fetchall()
    return [row[0] for row in rows], [row[1] for row in rows]
