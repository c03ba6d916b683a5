"""Kafka and PostgreSQL for `hookline up`: those that are given, or embedded ones."""

import asyncio
import contextlib
from collections.abc import Mapping

from pipeline.commands.up.data_directory import DataDirectory
from pipeline.commands.up.free_ports import FreePorts
from pipeline.commands.up.service import Service, run_in_thread
from pipeline.config import KafkaConfig, Settings
from pipeline.embedded.kafka import EmbeddedKafka
from pipeline.embedded.ports import LOOPBACK
from pipeline.embedded.postgres import EmbeddedPostgres
from pipeline.embedded.progress import Progress
from pipeline.process import StartError
from pipeline.topics import declare_topics_for

KAFKA_VARIABLE = "HOOKLINE_KAFKA_BOOTSTRAP_SERVERS"
DATABASE_VARIABLE = "HOOKLINE_DATABASE_WRITE_URL"
KAFKA, POSTGRES = "kafka", "postgres"
PROBE_TIMEOUT_S = 3.0


def plan_kafka(
    environ: Mapping[str, str], settings: Settings, data: DataDirectory, ports: FreePorts, progress: Progress
) -> tuple[Service | None, str]:
    """The service to start, None when one is given; and its bootstrap servers. Raises `StartError`."""
    if KAFKA_VARIABLE in environ:
        return None, settings.kafka.bootstrap_servers
    if settings.kafka.username is not None or settings.kafka.tls:
        raise StartError(
            f"HOOKLINE_KAFKA_USERNAME or HOOKLINE_KAFKA_TLS is set, and {KAFKA_VARIABLE} is not: the embedded Kafka "
            "has neither users nor TLS. Say where yours is, or unset them"
        )
    port, controller_port = ports.take("Kafka"), ports.take("Kafka's controller")

    def launch() -> EmbeddedKafka:
        return EmbeddedKafka.start(
            data.kafka,
            port=port,
            controller_port=controller_port,
            heap_mib=settings.embedded.kafka_heap_mib,
            progress=progress,
            cache_dir=settings.embedded.cache_dir,
        )

    return Service(KAFKA, launch), f"{LOOPBACK}:{port}"


class PostgresPlan:
    """PostgreSQL, whose URL is known only once it has started."""

    def __init__(
        self,
        environ: Mapping[str, str],
        settings: Settings,
        data: DataDirectory,
        ports: FreePorts,
        progress: Progress,
    ) -> None:
        self.url = settings.database.write_url.get_secret_value()
        self.service = None if DATABASE_VARIABLE in environ else Service(POSTGRES, self._launch)
        self._data = data
        self._progress = progress
        self._port = None if self.service is None else ports.take("PostgreSQL")

    def _launch(self) -> EmbeddedPostgres:
        started = EmbeddedPostgres.start(self._data.postgres, port=self._port, progress=self._progress)
        self.url = started.url
        return started


async def prepare_kafka(config: KafkaConfig) -> None:
    """Create the topics. Raises `StartError`, soon when nobody listens there."""
    await _probe(config.bootstrap_servers)
    declared = declare_topics_for(config)

    def apply() -> None:
        # imported here: the embedded services start meanwhile
        from pipeline.kafka.admin import apply_topics

        apply_topics(config, declared)

    await run_in_thread(apply)


async def prepare_postgres(url: str) -> None:
    """Apply the migrations. Raises `StartError`."""

    def apply() -> None:
        # imported here: the embedded services start meanwhile
        from pipeline.postgres.migrations import migrate

        migrate(url)

    await run_in_thread(apply)


async def _probe(bootstrap_servers: str) -> None:
    """Kafka's client would go on trying for longer than a person wants to wait."""
    problems = []
    for server in bootstrap_servers.split(","):
        host, separator, port = server.strip().rpartition(":")
        if not separator or not port.isdecimal():
            raise StartError(f"{KAFKA_VARIABLE}: {server.strip()!r} is not host:port")
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
        except (OSError, OverflowError) as error:  # a timeout is an OSError, too
            problems.append(f"{server.strip()}: {error or 'no answer'}")
            continue
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        return
    raise StartError(f"cannot reach Kafka ({'; '.join(problems)}). Is it running, is {KAFKA_VARIABLE} right?")
