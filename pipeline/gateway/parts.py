"""The gateway's own parts for commands that run once: PostgreSQL, a producer and a publisher, without the HTTP API."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from pipeline.config import Settings
from pipeline.gateway.ghosts import Ghosts
from pipeline.gateway.publishing import Publisher
from pipeline.kafka.admin import verify_topics
from pipeline.kafka.listening import refuse_closed
from pipeline.kafka.producer import LogProducer
from pipeline.metrics import Metrics
from pipeline.postgres import migrations
from pipeline.postgres.pool import Pool, open_pool
from pipeline.process import choose_versions
from pipeline.topics import Topics, declare_topics_for


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayParts:
    """The parts of a gateway that a command uses."""

    pool: Pool
    producer: LogProducer
    publisher: Publisher
    topics: Topics


@asynccontextmanager
async def open_parts(settings: Settings, *, name: str) -> AsyncIterator[GatewayParts]:
    """Connect, and close again. Raises `StartError` when Kafka or PostgreSQL cannot be used as they are."""
    choose_versions(settings)
    topics = declare_topics_for(settings.kafka)
    await asyncio.to_thread(refuse_closed, settings.kafka)
    await asyncio.to_thread(verify_topics, settings.kafka, topics)
    await asyncio.to_thread(migrations.verify, settings.database.write_url.get_secret_value())
    pool = await open_pool(settings.database, settings.database.write_url, name=name)
    metrics = Metrics(name)
    producer = LogProducer(settings.kafka, metrics, linger_ms=5)
    try:
        yield GatewayParts(
            pool=pool,
            producer=producer,
            publisher=Publisher(pool, producer, topics, Ghosts(pool, producer, settings.kafka, topics), metrics),
            topics=topics,
        )
    finally:
        await producer.close()
        await pool.close()
