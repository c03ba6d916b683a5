"""A PostgreSQL server of a test's own, which its operator works on: stopped, started again, and asked."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

from pipeline.embedded import postgres
from pipeline.embedded.data_dir import lock_directory
from pipeline.embedded.errors import EmbeddedError
from pipeline.embedded.guarded import start_guarded
from pipeline.embedded.postgres import OPTIONS, EmbeddedPostgres
from pipeline.embedded.progress import keep_silent
from pipeline.postgres import migrations
from tests.support.pace import paced
from tests.support.postgres import rename_database

CHECK_INTERVAL_S = 0.5
READY_TIMEOUT_S = 60.0
CONNECT_TIMEOUT_S = 5
TEMPLATE = "hookline_template"
OPERATORS = ("max_connections", "max_wal_size")  # for `alter system`, which a command line would outdo


class PostgresServer:
    """An async context manager around a server that keeps its port over restarts. `template`: a migrated database."""

    template = TEMPLATE

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.starts = 0  # after the first

    async def __aenter__(self) -> "PostgresServer":
        prepared = await asyncio.to_thread(EmbeddedPostgres.start, self._directory)
        self.url = prepared.url
        await self.execute(
            f"create database {TEMPLATE}", *(f"alter system set {name} = '{OPTIONS[name]}'" for name in OPERATORS)
        )
        await asyncio.to_thread(migrations.migrate, rename_database(self.url, TEMPLATE))
        await asyncio.to_thread(prepared.stop)
        await asyncio.to_thread(self._start)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def data(self) -> Path:
        """The cluster's directory."""
        return self._directory / "data"

    @property
    def log(self) -> str:
        return (self._directory / "server.log").read_text()

    async def stop(self) -> None:
        """Stop in order."""
        await asyncio.to_thread(self._server.stop, READY_TIMEOUT_S)

    async def start(self) -> None:
        """Start again, on the same port. Raises `EmbeddedError`."""
        self.starts += 1
        await asyncio.to_thread(self._start)

    async def execute(self, *statements: str, database: str | None = None) -> Sequence[tuple[object, ...]]:
        """Run statements one after the other; the rows of the last one. `database`: its URL."""
        async with await psycopg.AsyncConnection.connect(
            database or self.url, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S
        ) as connection:
            cursor = connection.cursor()
            for statement in statements:
                await cursor.execute(statement.encode())
            return await cursor.fetchall() if cursor.description is not None else []

    @contextlib.asynccontextmanager
    async def keep(self) -> AsyncIterator[None]:
        """Start the server again whenever it has ended, as a service manager does."""
        keeping = asyncio.create_task(self._keep())
        try:
            yield
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)

    async def _keep(self) -> None:
        async for _ in paced(CHECK_INTERVAL_S, skips_missed=True):
            if not self._server.is_alive():
                with contextlib.suppress(EmbeddedError):  # it cannot at this time
                    await self.start()

    def _start(self) -> None:
        binaries = postgres.find_binaries()
        options = [f"--{name}={value}" for name, value in OPTIONS.items() if name not in OPERATORS]
        command = [str(binaries / "postgres"), "-D", str(self.data), "-p", str(urlsplit(self.url).port), *options]
        postgres._remove_stale_pid_file(self.data)  # noqa: SLF001 - likewise
        with lock_directory(self._directory, "PostgreSQL", keep_silent) as lock:
            self._server = start_guarded(
                "PostgreSQL",
                command,
                stop_signal=signal.SIGINT,
                grace_s=postgres.STOP_GRACE_S,
                log_file=self._directory / "server.log",
                lock=lock,
                user=postgres._choose_user(self._directory, binaries),  # noqa: SLF001 - not root
            )
        pid = self._server.pid
        self._server.wait_until(lambda: postgres._is_ready(self.data, pid), timeout_s=READY_TIMEOUT_S)  # noqa: SLF001
