"""Bringing the database up to date: the SQL files of `sql/`, in order, each once.

They are applied by yoyo, which keeps its list in the database. A file and its entry in the list are one transaction,
and the lock ends with the session that has it: a process that is killed leaves nothing half done, and no lock. This
module blocks; call it in a thread.
"""

import glob
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from typing import Any, NamedTuple

import psycopg
from yoyo import read_migrations
from yoyo.backends.core.postgresql import PostgresqlPsycopgBackend
from yoyo.migrations import Migration, MigrationList, default_migration_table, topological_sort

from pipeline.postgres.pool import describe_unreachable
from pipeline.postgres.session import describe_session
from pipeline.start_error import StartError

CONNECT_TIMEOUT_S = 5
# "hookline" as a number: other programs with locks in this database have others
LOCK = int.from_bytes(b"hookline")
# as long as it takes: an index of a large table, or the wait for another that migrates
SETTINGS = {"statement_timeout": 0, "idle_in_transaction_session_timeout": 0}

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
            _apply(backend, migration)
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


def _apply(backend: _Backend, migration: Migration) -> None:
    migration.load()
    if not migration.use_transactions:
        with backend.copy() as own:
            migration.process_steps(own, "apply")
    with backend.transaction():
        if migration.use_transactions:
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
        connection.execute("select pg_advisory_xact_lock(%s)", (LOCK,))
        yield


@contextmanager
def _read() -> Iterator[MigrationList]:
    with as_file(files("pipeline.postgres").joinpath("sql")) as folder:
        yield read_migrations(glob.escape(str(folder)))


def _connect(url: str) -> psycopg.Connection[Any]:
    connection = psycopg.connect(
        url,
        autocommit=True,
        connect_timeout=CONNECT_TIMEOUT_S,
        application_name="hookline-migrate",
        options=describe_session(url, SETTINGS),
    )
    # not among the settings: PostgreSQL 16 does not have it
    connection.execute(
        "select set_config('transaction_timeout', '0', false) where current_setting('transaction_timeout', true) <> '0'"
    )
    return connection


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
