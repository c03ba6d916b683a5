"""Kafka and PostgreSQL for `hookline up`: those that are given, or embedded ones, which a keeper keeps."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

from pipeline.commands.installation.finding import DATABASE_VARIABLE, KAFKA_VARIABLE
from pipeline.commands.up.data_directory import DataDirectory
from pipeline.config import KafkaConfig, Settings
from pipeline.embedded.kafka import EmbeddedKafka
from pipeline.embedded.ports import LOOPBACK, FreePorts
from pipeline.embedded.postgres import EmbeddedPostgres
from pipeline.embedded.progress import Progress
from pipeline.start_error import StartError
from pipeline.topics import declare_topics_for

KAFKA, POSTGRES = "kafka", "postgres"
PROBE_TIMEOUT_S = 3.0

T = TypeVar("T")

LOOK_INTERVAL_S = 0.2
# A download that stands still, for example: we leave, and its guard ends it.
ABANDON_AFTER_S = 15.0
_SIGNALLED = 128  # added to the signal's number by the guard, as a shell does


class Running(Protocol):
    """An embedded service that runs."""

    @property
    def pid(self) -> int: ...
    def is_alive(self) -> bool: ...
    def stop(self, timeout_s: float = ...) -> None: ...
    @property
    def guarded(self) -> "Guarded": ...


class Guarded(Protocol):
    """A service whose end is watched by a guard."""

    @property
    def guard(self) -> "Ended": ...


class Ended(Protocol):
    """A guard; its exit code is that of the program that it guards."""

    @property
    def returncode(self) -> int | None: ...


class Service:
    """`launch` starts it, blocking, always on the same port."""

    def __init__(self, name: str, launch: Callable[[], Running]) -> None:
        self.name = name
        self.number = 1
        self.label = name
        self._launch = launch
        self._starting: asyncio.Future[Running] | None = None
        self._service: Running | None = None

    @property
    def pid(self) -> int:
        assert self._service is not None, f"{self.name} was not started"  # noqa: S101 - the keeper's order
        return self._service.pid

    async def start(self) -> None:
        """Start the service, and wait until it is ready. Raises `EmbeddedError`."""
        self._starting = run_in_thread(self._launch)
        # the caller may be cancelled; `stop` then waits for the start under way
        self._service = await asyncio.shield(self._starting)
        self._starting = None

    async def wait(self) -> int:
        """Wait for its end; the exit code, or the negative number of the signal it died of."""
        service = self._service
        assert service is not None, f"{self.name} was not started"  # noqa: S101 - the keeper's order
        while service.is_alive():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(LOOK_INTERVAL_S)
        await run_in_thread(lambda: service.stop(ABANDON_AFTER_S))  # releases its files and its guard
        code = service.guarded.guard.returncode or 0
        return _SIGNALLED - code if code > _SIGNALLED else code

    async def stop(self, timeout_s: float) -> bool:
        """Stop the service in order, by force after `timeout_s`; did it end in order?"""
        if self._starting is not None:
            with contextlib.suppress(Exception):  # it is not needed any more, whatever went wrong
                async with asyncio.timeout(ABANDON_AFTER_S):
                    self._service = await asyncio.shield(self._starting)
        service = self._service
        if service is not None:
            await run_in_thread(lambda: service.stop(timeout_s))
        return True

    def kill(self) -> None:
        """Do nothing: the service's guard stops the service when this process has ended."""

    def read_refusal(self) -> str:
        """Services say it when they are started."""
        return ""


def run_in_thread(work: Callable[[], T]) -> "asyncio.Future[T]":
    """Run blocking `work` in a daemon thread: unlike with an executor, leaving the program does not wait for it."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.cancelled():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]  # what `work` returned

    def run() -> None:
        result: T | None = None
        error: BaseException | None = None
        try:
            result = work()
        except Exception as caught:
            error = caught
        with contextlib.suppress(RuntimeError):  # the loop is closed: there is no waiter
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, daemon=True).start()
    return future


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
            rehearses=True,
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
    """Create the topics. Raises `StartError`, soon when nothing listens there."""
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
