"""The server opens no new sessions for our role, and those that are open work: a password was changed."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import LiteralString
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest
from psycopg.rows import tuple_row
from psycopg.sql import SQL, Identifier
from pydantic import SecretStr

from pipeline.config import DatabaseConfig
from pipeline.metrics import Metrics
from pipeline.postgres.pool import Pool, open_pool
from pipeline.postgres.pool_watch import PoolWatch
from tests.support.eventually import eventually

PASSWORD = "as it was"
WITHDRAWN = {
    "password": ("alter role {} password 'another'", f"alter role {{}} password '{PASSWORD}'", "authentication failed"),
    "login": ("alter role {} nologin", "alter role {} login", "not permitted to log in"),
    "limit": ("alter role {} connection limit 0", "alter role {} connection limit -1", "too many connections"),
}


class Role:
    """A role of its own. `url`: the database as this role, without its password."""

    def __init__(self, admin: psycopg.Connection, database: str) -> None:
        self._admin = admin
        self._name = f"test_{uuid4().hex}"
        parts = urlsplit(database)
        self.url = parts._replace(netloc=f"{self._name}@{parts.hostname}:{parts.port}").geturl()

    def change(self, statement: LiteralString) -> None:
        """Execute a statement; `{}` is the role."""
        self._admin.execute(SQL(statement).format(Identifier(self._name)))

    def end_sessions(self) -> None:
        """End those that are open."""
        self._admin.execute("select pg_terminate_backend(pid) from pg_stat_activity where usename = %s", (self._name,))


@pytest.fixture
def role(database: str) -> Iterator[Role]:
    with psycopg.connect(database, autocommit=True) as admin:
        made = Role(admin, database)
        made.change(f"create role {{}} login password '{PASSWORD}'")
        try:
            yield made
        finally:
            made.end_sessions()
            made.change("drop role {}")


@asynccontextmanager
async def watched_pool(role: Role, passwords: Path) -> AsyncIterator[tuple[Pool, Callable[[], str | None]]]:
    """A pool that reads its password where libpq does, each time it opens a session; and its health."""
    write_password(passwords, PASSWORD)
    config = DatabaseConfig(pool_size=2, connect_timeout_s=2)
    pool = await open_pool(config, SecretStr(f"{role.url}?passfile={passwords}"), name="test", is_needed=False)
    watch = PoolWatch(pool, Metrics("test"), name="test", is_for_changes=True)
    watching = asyncio.create_task(watch.run())
    async with pool:
        await pool.wait()  # for the session that stays open
        yield pool, watch.check
        watching.cancel()


def write_password(passwords: Path, password: str) -> None:
    passwords.write_text(f"*:*:*:*:{password}\n")
    passwords.chmod(0o600)


@pytest.mark.parametrize("kind", WITHDRAWN)
async def test_health_says_so_before_the_last_session_ends(
    role: Role, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Health names the reason while open sessions work, and when none is left; put back, the pool works by itself."""
    monkeypatch.setattr("pipeline.postgres.opening_watch.INTERVAL_S", 0.5)
    withdraw, give_back, words = WITHDRAWN[kind]
    async with watched_pool(role, tmp_path / "passwords") as (pool, check):
        role.change(withdraw)
        await eventually(lambda: "opens no new sessions" in (check() or "") and words in (check() or ""))
        found = await pool.fetch(b"select 1", (), tuple_row)
        role.end_sessions()
        await eventually(lambda: "cannot be used" in (check() or "") and words in (check() or ""))
        role.change(give_back)
        await eventually(lambda: check() is None)

        assert [(1,)] == found
        assert [(1,)] == await pool.fetch(b"select 1", (), tuple_row)


async def test_a_password_file(role: Role, tmp_path: Path) -> None:
    """`passfile` in the URL is read for each session: a password is changed without a restart."""
    async with watched_pool(role, tmp_path / "passwords") as (pool, check):
        role.change("alter role {} password 'another'")
        role.end_sessions()
        await eventually(lambda: "authentication failed" in (check() or ""))
        write_password(tmp_path / "passwords", "another")
        await eventually(lambda: check() is None)

        assert [(1,)] == await pool.fetch(b"select 1", (), tuple_row)
