"""Bringing the database up to date: the SQL files of `sql/`, in order, each once.

They are applied by yoyo, which keeps its list in the database and a lock while it works, so that several may run at
once. This module blocks; call it in a thread.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files

import psycopg
from psycopg.conninfo import conninfo_to_dict
from yoyo import get_backend, read_migrations
from yoyo.backends import DatabaseBackend
from yoyo.migrations import MigrationList

from pipeline.postgres.pool import describe_unreachable
from pipeline.start_error import StartError


def migrate(url: str) -> list[str]:
    """Apply missing migrations; returns their names. Raises `StartError` when the server cannot be used."""
    with _open(url) as (backend, migrations), backend.lock():
        pending = backend.to_apply(migrations)
        backend.apply_migrations(pending)
        return [migration.id for migration in pending]


def plan(url: str) -> list[str]:
    """The names of missing migrations."""
    with _open(url) as (backend, migrations):
        return [migration.id for migration in backend.to_apply(migrations)]


def verify(url: str) -> None:
    """Raise `StartError` unless the database is up to date."""
    missing = plan(url)
    if missing:
        raise StartError(
            f"the database lacks {len(missing)} migrations ({', '.join(missing)}); apply them with `hookline migrate`"
        )


@contextmanager
def _open(url: str) -> Iterator[tuple[DatabaseBackend, MigrationList]]:
    # asked first, for a message that says what to do; yoyo's own hides the address
    try:
        psycopg.connect(url, connect_timeout=5).close()
        conninfo_to_dict(url)
    except psycopg.Error as error:
        raise describe_unreachable(url, error) from error
    backend = get_backend(re.sub(r"^postgres(ql)?://", "postgresql+psycopg://", url))
    try:
        with as_file(files("pipeline.postgres").joinpath("sql")) as folder:
            yield backend, read_migrations(str(folder))
    finally:
        backend.connection.close()
