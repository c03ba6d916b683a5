"""Lists and counts of the control plane go by an index, and read what they show, whatever else there is or was."""

from datetime import UTC, datetime
from uuid import UUID

import psycopg

from pipeline.core.events.moments import to_us
from pipeline.postgres.archive.paging import Cursor
from pipeline.postgres.control.applications import delete_application
from pipeline.postgres.control.event_types import EventType, create_event_type, list_event_types
from pipeline.postgres.control.subscriptions import list_subscriptions
from tests.integration.archive.plans import open_explained

ORGANIZATION, APPLICATION = str(UUID(int=1)), str(UUID(int=2))
ROWS = 5_000
PAGE_ROWS = 50
BEGIN = datetime(2026, 1, 2, tzinfo=UTC)


def fill(database: str) -> None:
    """An application with event types of which half are active, and subscriptions of which one in ten is left."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("insert into organizations (organization_id, name) values (%s, 'o')", (ORGANIZATION,))
        connection.execute(
            "insert into applications (application_id, organization_id, name) values (%s, %s, 'a')",
            (APPLICATION, ORGANIZATION),
        )
        connection.execute(
            "insert into event_types (application_id, name, service, resource_type, verb, is_active, changed_version, "
            "created_version) select %s, 's.r' || n || '.v', 's', 'r' || n, 'v', n %% 2 = 0, 1, 1 "
            "from generate_series(1, %s) n",
            (APPLICATION, ROWS),
        )
        connection.execute(
            "insert into subscriptions (subscription_id, application_id, is_enabled, event_types, metadata, labels, "
            "target_method, target_url, target_headers, key_id, sealed, created_at, deleted_at, changed_version) "
            "select gen_random_uuid(), %s, true, '{s.r2.v}', '{}', '{}', 'POST', 'http://a', '{}', 'k', '', "
            "%s + n * interval '1 s', case when n %% 10 > 0 then now() end, 1 from generate_series(1, %s) n",
            (APPLICATION, BEGIN, ROWS),
        )
        connection.execute("vacuum (analyze) subscriptions")
        connection.execute("vacuum (analyze) event_types")


async def test_a_page_reads_what_it_shows(database: str) -> None:
    """Pages in the middle, forwards and backwards; a kept plan, as a busy gateway's, is as good."""
    fill(database)
    middle = to_us(BEGIN) + ROWS // 2 * 1_000_000 + 500_000
    found: dict[str, tuple[int, list[str], int]] = {}
    async with open_explained(database) as (pool, plans):
        for mode in ("force_custom_plan", "force_generic_plan"):
            async with pool.connection() as connection:
                await connection.execute(f"set plan_cache_mode = {mode}")
            for is_backward in (False, True):
                after = Cursor(created_at_us=middle, attempt_id=str(UUID(int=0)), is_backward=is_backward)
                plans.clear()
                subscriptions = await list_subscriptions(pool, APPLICATION, after=after, limit=PAGE_ROWS)
                found[f"subscriptions {mode} {is_backward}"] = (len(subscriptions), plans.whole(), plans.rows())
                names = {"before" if is_backward else "after": "s.r3.v"}
                plans.clear()
                types = await list_event_types(pool, APPLICATION, limit=PAGE_ROWS, **names)
                found[f"event types {mode} {is_backward}"] = (len(types), plans.whole(), plans.rows())

    # one more is looked at, to see where the page begins
    assert dict.fromkeys(found, (PAGE_ROWS, [], True)) == {
        name: (shown, whole, rows <= PAGE_ROWS + 1) for name, (shown, whole, rows) in found.items()
    }


async def test_a_quota_counts_the_active_ones_by_an_index(database: str) -> None:
    """One more event type where a quota bounds their number: the table is not read from end to end."""
    fill(database)
    async with open_explained(database) as (pool, plans):
        more = EventType(service="s", resource_type="new", verb="v")
        assert await create_event_type(pool, APPLICATION, more, event_types_max=ROWS)

        assert [] == plans.whole()
        assert ROWS // 2 + 20 > plans.rows()


async def test_deleting_an_application_looks_at_each_part_of_it_a_few_times(database: str) -> None:
    """Each subscription that goes has an entry in the audit log. To note it does not take a look at all others."""
    fill(database)
    left = ROWS // 10
    async with open_explained(database) as (pool, plans):
        async with pool.connection() as connection:
            await connection.execute("set auto_explain.log_nested_statements = on")
            await connection.execute("set auto_explain.log_buffers = on")
        plans.clear()
        assert await delete_application(pool, APPLICATION)

        looks = [
            node for node in plans.scans() if node["Relation Name"] == "subscriptions" and "Scan" in node["Node Type"]
        ]
        # blocks, not rows: what the same statement has deleted is met all the same, and passed over
        blocks = sum(node["Shared Hit Blocks"] + node["Shared Read Blocks"] for node in looks)

    assert left < len(looks)
    assert 20 * left > blocks
    with psycopg.connect(database) as connection:
        query = "select count(*) from audit_log where resource = 'subscription' and action = 'deleted'"
        assert (left,) == connection.execute(query).fetchone()
