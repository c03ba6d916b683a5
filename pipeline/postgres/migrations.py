"""Bringing the database up to date: the SQL files of `sql/`, in order, each once.

They are applied by yoyo, which keeps its list in the database. A file and its entry in the list are one transaction,
and the lock ends with the session that has it: a process that is killed leaves nothing half done, and no lock. This
module blocks; call it in a thread.
"""

import glob
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from typing import Any, LiteralString, NamedTuple

import psycopg
import structlog
from psycopg import errors
from yoyo import read_migrations
from yoyo.backends.core.postgresql import PostgresqlPsycopgBackend
from yoyo.migrations import Migration, MigrationList, default_migration_table, topological_sort

from pipeline.postgres.own_locks import AGAIN_AFTER_S as LOCK_AGAIN_AFTER_S
from pipeline.postgres.own_locks import MIGRATING, TRY
from pipeline.postgres.pool import describe_unreachable
from pipeline.postgres.pooling import refuse_shared_sessions
from pipeline.postgres.session import PREPARE, describe_session, list_values
from pipeline.start_error import StartError

CONNECT_TIMEOUT_S = 5
# as long as it takes: an index of a large table, or the wait for another that migrates
SETTINGS = {
    "statement_timeout": 0,
    "idle_in_transaction_session_timeout": 0,
    "default_transaction_read_only": "off",
}
# A change of a table that waits for a lock keeps all behind it waiting, reads included: it gives way, and tries again.
GIVING_WAY: LiteralString = "set local lock_timeout = '2s'"
AGAIN_AFTER_S = 3.0
GIVE_UP_AFTER_S = 60.0
OLDEST = (
    "select coalesce(nullif(application_name, ''), usename, '?'), pid, xact_start::timestamp(0)::text "
    "from pg_stat_activity where datname = current_database() and application_name <> 'hookline-migrate' "
    "and xact_start is not null order by xact_start limit 1"
)
ENCODING = "UTF8"

log = structlog.get_logger()

Applied = Callable[[str], None]  # takes the name of a migration, once it is applied


def migrate(url: str, on_applied: Applied = lambda _: None) -> list[str]:
    """Apply missing migrations; returns their names. Raises `StartError` when the server cannot be used."""
    with (
        _explaining(url),
        _locked(url),
        _read() as migrations,
        _Backend(_Address(url), default_migration_table) as backend,
    ):
        names = []
        for migration in backend.to_apply(migrations):
            _apply_giving_way(backend, migration)
            on_applied(migration.id)
            names.append(migration.id)
        return names


def plan(url: str) -> list[str]:
    """The names of missing migrations. Changes nothing. Raises `StartError` when the server cannot be used."""
    with _explaining(url), _connect(url) as connection, _read() as migrations:
        applied = _list_applied(connection)
        return [each.id for each in topological_sort(each for each in migrations if each.hash not in applied)]


def verify(url: str) -> None:
    """Raise `StartError` unless the database is up to date."""
    missing = plan(url)
    if missing:
        raise StartError(
            f"the database lacks {len(missing)} migrations ({', '.join(missing)}); apply them with `hookline migrate`"
        )


class _Address(NamedTuple):
    """The address of a database, with the field that yoyo reads."""

    url: str
    database: str = ""


class _Backend(PostgresqlPsycopgBackend):  # type: ignore[misc]  # yoyo is not typed
    """yoyo's way to the database: by any URL that libpq takes, in a session like our others, under `_locked`."""

    def connect(self, dburi: _Address) -> psycopg.Connection[Any]:
        """See the parent's method, which reads the URL by itself, and several hosts not at all."""
        return _connect(dburi.url)

    @contextmanager
    def lock(self, timeout: float = 0.0) -> Iterator[None]:
        """See the parent's method, whose lock is a row that a killed process leaves."""
        yield


def _apply_giving_way(backend: _Backend, migration: Migration) -> None:
    """Apply a migration, behind a long read such as a dump again and again. Raises `StartError` after a while."""
    give_up_at_s = time.monotonic() + GIVE_UP_AFTER_S
    while True:
        try:
            _apply(backend, migration)
        except errors.LockNotAvailable as error:
            reason = _describe_lock(backend, migration)
            if time.monotonic() > give_up_at_s:
                raise StartError(reason) from error
            log.warning("migration_waits", reason=reason)
            time.sleep(AGAIN_AFTER_S)
        else:
            return


def _describe_lock(backend: _Backend, migration: Migration) -> str:
    """One sentence about what is in the way, as far as the server says it."""
    found = backend.connection.execute(OLDEST).fetchone()
    whose = "" if found is None else ": the oldest open transaction is that of {} (pid {}), since {} UTC".format(*found)
    return (
        f"{migration.id} waits for a lock, and was taken back{whose}. Wait for it or end it, then run "
        "`hookline migrate` again"
    )


def _apply(backend: _Backend, migration: Migration) -> None:
    migration.load()
    if not migration.use_transactions:
        with backend.copy() as own:
            migration.process_steps(own, "apply")
    with backend.transaction():
        if migration.use_transactions:
            backend.connection.execute(GIVING_WAY)
            migration.process_steps(backend, "apply")
        backend.mark_one(migration, log=False)


def _list_applied(connection: psycopg.Connection[Any]) -> frozenset[str]:
    found = connection.execute("select to_regclass(%s)", (default_migration_table,)).fetchone()
    if found is None or found[0] is None:
        return frozenset()
    return frozenset(row[0] for row in connection.execute(f"select migration_hash from {default_migration_table}"))  # noqa: S608 - yoyo's constant


@contextmanager
def _locked(url: str) -> Iterator[None]:
    """Wait until no other process migrates, and keep others waiting. A transaction: poolers keep its session, too."""
    with _connect(url) as connection, connection.transaction():
        cursor = psycopg.ClientCursor(connection)
        while cursor.execute(TRY, MIGRATING.values).fetchone() != (True,):
            time.sleep(LOCK_AGAIN_AFTER_S)
        yield


@contextmanager
def _read() -> Iterator[MigrationList]:
    with as_file(files("pipeline.postgres").joinpath("sql")) as folder:
        yield read_migrations(glob.escape(str(folder)))


def _connect(url: str) -> psycopg.Connection[Any]:
    """A session with our settings, of a database that can be used. Raises `StartError`, or what psycopg raises."""
    try:
        connection = _open(url, options=describe_session(url, SETTINGS))
    except psycopg.OperationalError as error:
        if "unsupported startup parameter" not in str(error):
            raise
        connection = _open(url)  # PgBouncer, which takes no options: those of the URL among them are named then
    try:
        # also where a pooler has dropped the options
        connection.execute(PREPARE, list_values(SETTINGS, is_durable=True))
        refuse_shared_sessions(url, connection)
        encoding = connection.info.parameter_status("server_encoding")
        if encoding != ENCODING:
            raise StartError(
                f"the database {connection.info.dbname} has the encoding {encoding}, and cannot hold every event: "
                f"create one with `create database … encoding '{ENCODING}' template template0`, and name it in "
                "HOOKLINE_DATABASE_WRITE_URL"
            )
    except BaseException:
        connection.close()
        raise
    return connection


def _open(url: str, *, options: str | None = None) -> psycopg.Connection[Any]:
    return psycopg.connect(
        url,
        autocommit=True,
        connect_timeout=CONNECT_TIMEOUT_S,
        application_name="hookline-migrate",
        options=options,
    )


@contextmanager
def _explaining(url: str) -> Iterator[None]:
    """Raise `StartError` instead of what PostgreSQL says."""
    try:
        yield
    except psycopg.OperationalError as error:
        raise describe_unreachable(url, error) from error
    except psycopg.Error as error:
        reason = " ".join(str(error).split())
        raise StartError(
            f"PostgreSQL refuses to migrate, or to say what is applied: {reason}. What was applied before stays; mend "
            "what it says (HOOKLINE_DATABASE_WRITE_URL needs a role that may make tables), and run `hookline migrate` "
            "again"
        ) from error
