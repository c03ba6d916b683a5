import socket

import psycopg
import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.support.eventually import eventually
from tests.support.kafka import check_reachable, delete_topics
from tests.support.postgres import create_database, name_of


async def test_topics_of_one_prefix_are_deleted_and_no_others(kafka: str, topic_prefix: str) -> None:
    """Topics that a test made on the session's broker go with it."""
    admin = AdminClient({"bootstrap.servers": kafka}, logger=None)
    mine, other = f"{topic_prefix}a.events", f"{topic_prefix}b.events"
    for future in admin.create_topics([NewTopic(name, 1, 1) for name in (mine, other)]).values():
        future.result(60)
    # a broker's metadata has a new topic a moment later
    await eventually(lambda: {mine, other} <= set(admin.list_topics(timeout=60).topics), timeout_s=60)

    assert delete_topics(kafka, f"{topic_prefix}a.") == [mine]
    assert delete_topics(kafka, topic_prefix) == [other]
    assert delete_topics(kafka, topic_prefix) == []


def test_a_broker_that_is_not_there_fails_with_what_to_do() -> None:
    """A test is never skipped for want of a service."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # and not listening
        with pytest.raises(ConnectionError, match=r"HOOKLINE_TEST_KAFKA=.*start it, or unset it"):
            check_reachable(f"127.0.0.1:{bound.getsockname()[1]}")


def test_a_database_is_copied_and_dropped(postgres: str) -> None:
    """The copy equals its template, belongs to one test, and is dropped even when a test left a connection open."""
    with create_database(postgres) as template:
        with psycopg.connect(template) as connection:
            connection.execute("create table kept (n integer)")
        with create_database(postgres, template=name_of(template)) as copy:
            left_open = psycopg.connect(copy)
            assert left_open.execute("select count(*) from kept").fetchone() == (0,)
        with pytest.raises(psycopg.OperationalError):
            left_open.execute("select 1")
        left_open.close()
        with pytest.raises(psycopg.OperationalError, match="does not exist"):
            psycopg.connect(copy)


def test_an_empty_database_has_no_tables(empty_database: str) -> None:
    """Migrations can be tested from nothing."""
    with psycopg.connect(empty_database) as connection:
        tables = connection.execute("select count(*) from pg_tables where schemaname = 'public'").fetchone()

    assert tables == (0,)


def test_a_test_s_database_is_migrated(database: str) -> None:
    """All tables are there before the test begins."""
    with psycopg.connect(database) as connection:
        rows = connection.execute("select tablename from pg_tables where schemaname = 'public'").fetchall()

    assert {"applications", "subscriptions", "events", "attempts"} <= {row[0] for row in rows}
