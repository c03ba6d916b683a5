"""A real PgBouncer in front of a PostgreSQL, as an operator sets one up."""

import asyncio
import os
import signal
import tempfile
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from psycopg.pq import ExecStatus

from pipeline.embedded import postgres
from pipeline.embedded.ports import LOOPBACK
from tests.support.debian import find_program
from tests.support.eventually import eventually
from tests.support.free_ports import find_free_port
from tests.support.stack import move_url

# Every client is let in, and any database is the server's of that name, as the server's own user.
CONFIGURATION = """
[databases]
* = host={host} port={target_port} user={user} password={password}
[pgbouncer]
listen_addr = {listen}
listen_port = {port}
unix_socket_dir =
auth_type = any
admin_users = {user}
logfile = {folder}/pgbouncer.log
pidfile = {folder}/pgbouncer.pid
max_client_conn = 1000
{settings}
"""


class PgBouncer:
    """An async context manager. `settings`: as in `pgbouncer.ini`."""

    def __init__(self, server_url: str, settings: Mapping[str, object]) -> None:
        self._server = urlsplit(server_url)
        self._settings = dict(settings)
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> "PgBouncer":
        self._program, self._environ = await asyncio.to_thread(
            find_program, "pgbouncer", package="pgbouncer", libraries=("libc-ares2", "libevent-2.1-7")
        )
        self.port = find_free_port()
        self._folder = tempfile.TemporaryDirectory(prefix="hookline-test-pgbouncer-")
        folder = Path(self._folder.name)
        self._user = postgres._choose_user(folder, Path(self._program))  # noqa: SLF001 - PgBouncer does not run as root either
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
        self._folder.cleanup()

    async def start(self, **changed: object) -> None:
        """Start, with `changed` settings."""
        self._settings |= changed
        folder = Path(self._folder.name)
        configuration = folder / "pgbouncer.ini"
        text = CONFIGURATION.format(
            host=self._server.hostname,
            target_port=self._server.port or 5432,
            user=self._server.username,
            password=self._server.password,
            listen=LOOPBACK,
            port=self.port,
            folder=folder,
            settings="\n".join(f"{name} = {value}" for name, value in self._settings.items()),
        )
        await asyncio.to_thread(configuration.write_text, text)
        self._process = await asyncio.create_subprocess_exec(
            self._program,
            "-q",
            str(configuration),
            env=os.environ | self._environ,
            user=self._user,
            group=self._user,
            extra_groups=[] if self._user else None,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        await eventually(self._is_listening, timeout_s=30)

    async def stop(self) -> None:
        """End at once, as at a crash."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    def send(self, sent: signal.Signals) -> None:
        """Send a signal, without waiting for what comes of it."""
        assert self._process is not None
        self._process.send_signal(sent)

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def address(self) -> str:
        return f"{LOOPBACK}:{self.port}"

    def lead(self, url: str) -> str:
        """The URL of a database of the server, by way of this."""
        return move_url(url, self.address)

    async def execute(self, command: str) -> None:
        """Give an order at the console: `pause`, `resume`, `reconnect`."""

        def give() -> None:
            url = f"postgresql://{self._server.username}@{self.address}/pgbouncer"
            with psycopg.connect(url, autocommit=True) as console:
                answer = console.pgconn.exec_(command.encode())
                assert answer.status == ExecStatus.COMMAND_OK, answer.error_message

        await asyncio.to_thread(give)

    def _read_log(self) -> str:
        return Path(self._folder.name, "pgbouncer.log").read_text()

    async def _is_listening(self) -> bool:
        assert self._process is not None
        assert self._process.returncode is None, await asyncio.to_thread(self._read_log)
        try:
            _, writer = await asyncio.open_connection(LOOPBACK, self.port)
        except OSError:
            return False
        writer.close()
        return True
