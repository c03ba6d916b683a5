"""A real streaming replica of an embedded PostgreSQL."""

import asyncio
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

from pipeline.embedded import postgres
from pipeline.embedded.ports import LOOPBACK, choose_port
from pipeline.embedded.postgres import EmbeddedPostgres

START_TIMEOUT_S = 60.0


@asynccontextmanager
async def run_replica(primary: EmbeddedPostgres, directory: Path) -> AsyncIterator["Replica"]:
    """Run a replica that follows the primary, and answers."""
    replica = await asyncio.to_thread(Replica, primary, directory)
    try:
        yield replica
    finally:
        await asyncio.to_thread(replica.stop)


class Replica:
    """Made of a copy of the primary. `url`: of the same database."""

    def __init__(self, primary: EmbeddedPostgres, directory: Path) -> None:
        binaries = postgres.find_binaries()
        user = postgres._choose_user(directory, binaries)  # noqa: SLF001 - PostgreSQL does not run as root
        data = directory / "replica"
        copy = [
            str(binaries / "pg_basebackup"),
            "-d",
            primary.url,
            "-D",
            str(data),
            "-R",
            "--checkpoint=fast",
            "--no-sync",
        ]
        done = postgres._run(copy, user=user)  # noqa: SLF001 - likewise
        assert done.returncode == 0, done.stderr
        port = choose_port(None, "the replica")
        options = [word for name, value in postgres.OPTIONS.items() for word in ("-c", f"{name}={value}")]
        with (directory / "replica.log").open("wb") as log:
            self._server = subprocess.Popen(
                [str(binaries / "postgres"), "-D", str(data), "-p", str(port), *options],
                user=user,
                group=user,
                extra_groups=[] if user else None,
                cwd="/",
                stdout=log,
                stderr=log,
            )
        parts = urlsplit(primary.url)
        self.url = parts._replace(netloc=f"{parts.username}:{parts.password}@{LOOPBACK}:{port}").geturl()
        self._wait()

    def execute(self, statement: str) -> None:
        """Run one statement on it."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement.encode())

    def stop(self) -> None:
        """Stop at once, as a server does that lost its power."""
        if self._server.poll() is None:
            self._server.send_signal(3)  # SIGQUIT
        self._server.wait(30)

    def _wait(self) -> None:
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                psycopg.connect(self.url, connect_timeout=5).close()
            except psycopg.OperationalError:
                assert self._server.poll() is None, "the replica ended"
                assert time.monotonic() < deadline_s
                time.sleep(0.1)
            else:
                return
