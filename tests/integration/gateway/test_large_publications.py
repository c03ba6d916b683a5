"""An application with as many event types and subscriptions as one may have is published as a whole."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from uuid import uuid4

import psycopg
from pydantic import SecretStr

from pipeline.config import DatabaseConfig
from pipeline.core.events.records import RoutesChanged
from pipeline.gateway.publishing import Publisher
from pipeline.metrics import Metrics
from pipeline.postgres.pool import open_pool
from pipeline.topics import Topic, declare_topics

TYPES = 100_000
SUBSCRIPTIONS = 2_000
STRETCH_MAX_S = 0.1


class Stretches:
    """The most processor time that the loop's thread took between two turns of another task."""

    longest_s = 0.0

    async def watch(self) -> None:
        """Runs until cancelled."""
        while True:
            begun_s = time.thread_time()
            await asyncio.sleep(0)
            self.longest_s = max(self.longest_s, time.thread_time() - begun_s)


@asynccontextmanager
async def measure_stretches() -> AsyncIterator[Stretches]:
    stretches = Stretches()
    watching = asyncio.create_task(stretches.watch())
    try:
        yield stretches
    finally:
        watching.cancel()


class Log:
    """Stands in for the log: counts what is written."""

    records = 0

    async def send_bytes(self, records: Sequence[object]) -> None:
        self.records += len(records)
        await asyncio.sleep(0)

    async def send(self, topic: Topic, key: str, record: RoutesChanged) -> None:
        await asyncio.sleep(0)


class NoGhosts:
    """Stands in for what the log has and the database does not: nothing."""

    async def list_ends(self, *_: object) -> list[object]:
        return []


def fill(database: str) -> str:
    """Make an application of that size; its id."""
    application_id = str(uuid4())
    names = [f"shop.order.verb{number:06}" for number in range(100)]
    with psycopg.connect(database) as connection:
        connection.execute("set session_replication_role = replica")  # no entries of the audit log
        connection.execute(
            "with made as (insert into organizations (organization_id, name) values (gen_random_uuid(), 'a') "
            "returning organization_id) insert into applications (application_id, organization_id, name) "
            "select %s, organization_id, 'a' from made",
            (application_id,),
        )
        connection.execute(
            "insert into event_types (application_id, name, service, resource_type, verb, changed_version, "
            "created_version) select %s, 'shop.order.verb' || lpad(n::text, 6, '0'), 'shop', 'order', "
            "'verb' || lpad(n::text, 6, '0'), 1, 1 from generate_series(0, %s) as n",
            (application_id, TYPES - 1),
        )
        connection.execute(
            "insert into subscriptions (subscription_id, application_id, is_enabled, event_types, description, "
            "metadata, labels, target_method, target_url, target_headers, delivery, key_id, sealed, changed_version) "
            "select gen_random_uuid(), %s, true, %s, '', '{}', '{\"all\":\"yes\"}', 'POST', 'http://a.example/', '{}', "
            "'{}', 'test', '', 1 from generate_series(1, %s)",
            (application_id, names, SUBSCRIPTIONS),
        )
    return application_id


async def test_others_have_turns_meanwhile(database: str) -> None:
    """The loop does nothing else for a tenth of a second at most."""
    application_id = await asyncio.to_thread(fill, database)
    topics = declare_topics(prefix="large.", partitions=1, event_retention_s=86_400)
    log = Log()
    pool = await open_pool(DatabaseConfig(pool_size=2), SecretStr(database), name="test")
    async with pool:
        publisher = Publisher(pool, log, topics, NoGhosts(), Metrics("test"))  # type: ignore[arg-type]  # stand-ins
        async with measure_stretches() as stretches:
            await publisher.publish_or_raise(application_id, is_forced=True)

    assert TYPES + 2 * SUBSCRIPTIONS < log.records
    assert stretches.longest_s < STRETCH_MAX_S
