"""The processes that a test asks for, around topics and a database of its own. For tests of several processes together;
`hookline up` itself is driven by `tests.support.processes`."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

from pipeline.config import KafkaConfig
from pipeline.kafka.admin import apply_topics
from pipeline.topics import Topics, declare_topics
from tests.support.api import Api
from tests.support.kafka import delete_topics
from tests.support.postgres import create_database
from tests.support.single_process import SingleProcess

KEYS = "test:" + "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
MASTER_KEY = "7b1d5a52-6d4f-4f5a-9a63-3f0c0b9f7a11"
PARTITIONS = 4
# A read of what was accepted a moment ago shows what there is when its time is over. A busy machine has more of it.
ARCHIVE_WAIT_S = "30"
ARCHIVING = {"matcher", "archive"}  # what a read waits for


@dataclass(slots=True, kw_only=True)
class Stack:
    """Running processes. `processes`: by name, in the order they were started."""

    kafka: KafkaConfig
    topics: Topics
    database_url: str
    environ: dict[str, str]
    processes: dict[str, list[SingleProcess]] = field(default_factory=dict)
    apis: list[Api] = field(default_factory=list)

    @property
    def api(self) -> Api:
        """The first gateway's."""
        return self.apis[0]


@asynccontextmanager
async def run_stack(
    kafka: str, postgres: str, template: str, *names: str, database_at: str | None = None, **settings: str
) -> AsyncIterator[Stack]:
    """Start `names` (twice for two of a kind); `settings` as `WORKER_CONCURRENCY`, or OpenTelemetry's `OTEL_…`.

    `database_at`: the host:port by which the processes reach the database, a proxy's for example.
    """
    prefix = f"stack-{uuid4().hex[:8]}."
    topics = declare_topics(prefix=prefix, partitions=PARTITIONS, event_retention_s=86_400)
    replicas = int(settings.get("KAFKA_REPLICATION_FACTOR", "1"))
    config = KafkaConfig(
        bootstrap_servers=kafka, topic_prefix=prefix, partitions=PARTITIONS, replication_factor=replicas
    )
    await asyncio.to_thread(apply_topics, config, topics)
    with create_database(postgres, template=template) as url:
        environ = {
            "HOOKLINE_KAFKA_BOOTSTRAP_SERVERS": kafka,
            "HOOKLINE_KAFKA_TOPIC_PREFIX": prefix,
            "HOOKLINE_KAFKA_PARTITIONS": str(PARTITIONS),
            "HOOKLINE_KAFKA_EVENT_RETENTION_S": "86400",
            "HOOKLINE_DATABASE_WRITE_URL": move_url(url, database_at) if database_at is not None else url,
            "HOOKLINE_SEALING_KEYS": KEYS,
            "HOOKLINE_GATEWAY_PORT": "0",
            # many gateways share one server
            "HOOKLINE_DATABASE_POOL_MIN_SIZE": "1",
            "HOOKLINE_DATABASE_POOL_SIZE": "8",
            "HOOKLINE_DATABASE_POOL_ACQUIRE_TIMEOUT_S": "5",
            # no balancer in front: a stop does not wait for one
            "HOOKLINE_GATEWAY_DRAIN_S": "0",
            "HOOKLINE_GATEWAY_MASTER_API_KEY": MASTER_KEY,
            "HOOKLINE_DELIVER_ALLOW_PRIVATE_ADDRESSES": "true",
            "HOOKLINE_PROCESS_LOG_FORMAT": "text",
            **({"HOOKLINE_GATEWAY_ARCHIVE_WAIT_S": ARCHIVE_WAIT_S} if ARCHIVING <= set(names) else {}),
            **{name_variable(name): value for name, value in settings.items()},
        }
        stack = Stack(kafka=config, topics=topics, database_url=url, environ=environ)
        try:
            async with contextlib.AsyncExitStack() as running:
                for name in names:
                    process = SingleProcess(name, environ)
                    await process.start(wait_ready=False)
                    running.push_async_exit(process)
                    stack.processes.setdefault(name, []).append(process)
                # side by side: most of a start is imports, of which each has a core's worth
                await asyncio.gather(*(one.wait_ready() for some in stack.processes.values() for one in some))
                for process in stack.processes.get("gateway", ()):
                    address = (await process.wait_ready())["api"]
                    stack.apis.append(await running.enter_async_context(Api(address, MASTER_KEY)))
                yield stack
        finally:
            await asyncio.to_thread(delete_topics, kafka, prefix)


def name_variable(setting: str) -> str:
    """Ours, but for those of OpenTelemetry."""
    return setting if setting.startswith("OTEL_") else f"HOOKLINE_{setting}"


def move_url(url: str, address: str) -> str:
    """Put another host:port into a URL."""
    parts = urlsplit(url)
    user, at, _ = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user}{at}{address}"))
