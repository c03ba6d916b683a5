"""The tests' PostgreSQL: one real server for the whole run, a database for each test.

`HOOKLINE_TEST_DATABASE=postgresql://…` uses a server that is already running; its user must be allowed to create
databases, the named database itself is left alone. A server that cannot be had fails the tests that need it.
"""

import importlib
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from tests.support.kafka import report
from tests.support.sharing import share

VARIABLE = "HOOKLINE_TEST_DATABASE"
CONNECT_TIMEOUT_S = 60
DROP_TIMEOUT_S = 60.0
# Sessions with these cannot hold most texts, tell times in another form, and fail when another one was quicker.
ODD_DEFAULTS = {
    "client_encoding": "LATIN1",
    "datestyle": "German",
    "intervalstyle": "iso_8601",
    "timezone": "Asia/Kathmandu",
    "extra_float_digits": "-5",
    "standard_conforming_strings": "off",
    "transform_null_equals": "on",
    "array_nulls": "off",
    "default_transaction_isolation": "serializable",
}


@pytest.fixture(scope="session")
def postgres(pytestconfig: pytest.Config) -> Iterator[str]:
    """libpq URL of the server, with the name of a database that is not a test's own."""
    given = os.environ.get(VARIABLE)
    if given:
        psycopg.connect(given, connect_timeout=CONNECT_TIMEOUT_S).close()
        yield given
        return
    with share(pytestconfig, start_postgres) as url:
        yield url


@contextmanager
def start_postgres() -> Iterator[str]:
    # imported here: unit tests do without
    from pipeline.embedded.postgres import EmbeddedPostgres

    with tempfile.TemporaryDirectory(prefix="hookline-test-postgres-") as directory:
        server = EmbeddedPostgres.start(Path(directory), progress=report)
        try:
            yield server.url
        finally:
            server.stop()


@pytest.fixture(scope="session")
def migrated_template(pytestconfig: pytest.Config, postgres: str) -> Iterator[str]:
    """The name of a database with all migrations, which the tests' databases are copied from."""
    with share(pytestconfig, create_template, postgres) as name:
        yield name


@contextmanager
def create_template(server: str) -> Iterator[str]:
    # imported here: unit tests do without
    migrations = importlib.import_module("pipeline.postgres.migrations")

    with create_database(server) as url:
        migrations.migrate(url)
        yield name_of(url)


@pytest.fixture
def database(postgres: str, migrated_template: str) -> Iterator[str]:
    """libpq URL of this test's own database, migrated and otherwise empty."""
    with create_database(postgres, template=migrated_template) as url:
        yield url


@pytest.fixture
def empty_database(postgres: str) -> Iterator[str]:
    """libpq URL of this test's own database, with nothing in it: for tests of the migrations."""
    with create_database(postgres) as url:
        yield url


@contextmanager
def create_database(server: str, *, template: str = "template1") -> Iterator[str]:
    """A new database on `server`, dropped in the end with its open connections; its URL."""
    name = f"test_{uuid4().hex}"
    with psycopg.connect(server, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S) as connection:
        connection.execute(SQL("create database {} template {}").format(Identifier(name), Identifier(template)))
    try:
        yield rename_database(server, name)
    finally:
        # a session of its own: the test may have ended those before
        with psycopg.connect(server, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S) as connection:
            drop_database(connection, name)


def drop_database(connection: psycopg.Connection, name: str) -> None:
    """Drop a database with its open connections. The server gives their sessions five seconds to end, and then up."""
    deadline_s = time.monotonic() + DROP_TIMEOUT_S
    while True:
        try:
            connection.execute(SQL("drop database {} with (force)").format(Identifier(name)))
        except psycopg.errors.ObjectInUse:
            if time.monotonic() > deadline_s:
                raise
        else:
            return


def rename_database(url: str, name: str) -> str:
    """Name another database of the same server in a URL."""
    parts = urlsplit(url)
    query = f"?{parts.query}" if parts.query else ""
    return f"{parts.scheme}://{parts.netloc}/{name}{query}"  # `geturl` would drop the slashes before an empty host


def set_defaults(database: str, defaults: Mapping[str, str]) -> None:
    """Give new sessions with a database these settings, as an operator does."""
    with psycopg.connect(database, autocommit=True) as connection:
        for name, value in defaults.items():
            change = SQL("alter database {} set {} = {}")
            connection.execute(change.format(Identifier(name_of(database)), Identifier(name), value))


def name_of(url: str) -> str:
    """The database a URL names."""
    return urlsplit(url).path.lstrip("/")
