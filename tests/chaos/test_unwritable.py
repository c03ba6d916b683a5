"""Refused writes in their long form: each process, each way in which the log may turn against it, with kills meanwhile.

Of every event: accepted, delivered once (twice at most, whatever the restarts), archived. Health is red and names the
topic; everything goes on by itself when the setting is put back.
"""

import asyncio
from collections.abc import AsyncIterator

import psycopg
import pytest
import pytest_asyncio
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from pipeline.embedded.kafka import EmbeddedKafka
from tests.chaos.unwritable import Act, Installation, run_installation, topic_of, turn_against
from tests.support.kafka import alter_topic, report

# setting of the topic: the value that refuses everything, and the one that is relied on
SETTINGS = {
    "min.insync.replicas": ("2", "1"),
    "max.message.bytes": ("50", str(4 * 1024 * 1024)),
}
ACL = "authorizer.class.name"
OPEN = {ACL: "org.apache.kafka.metadata.authorizer.StandardAuthorizer", "allow.everyone.if.no.acl.found": "true"}
WRITERS = ("gateway", "matcher", "deliver")


def set_topic(name: str, setting: str, value: str) -> Act:
    async def act(installation: Installation) -> None:
        await alter_topic(installation.stack.kafka.bootstrap_servers, topic_of(installation, name), setting, value)

    return act


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        (name, setting)
        for name in WRITERS
        for setting in SETTINGS
        # A broker asks for no more replicas than there are, here one, and takes all. A gateway goes on then.
        if (name, setting) != ("gateway", "min.insync.replicas")
    ],
)
async def test_a_setting_that_refuses_everything(
    kafka: str, postgres: str, migrated_template: str, name: str, setting: str
) -> None:
    """An operator sets it by mistake, and puts it back."""
    refusing, usual = SETTINGS[setting]
    async with run_installation(kafka, postgres, migrated_template) as installation:
        result = await turn_against(
            installation,
            name,
            topic_of(installation, name).name,
            break_it=set_topic(name, setting, refusing),
            mend_it=set_topic(name, setting, usual),
        )
        report(f"{name}, {setting}: {result}")

    assert result.most <= 2


@pytest.mark.parametrize("name", WRITERS)
async def test_producers_times_are_taken_and_refused(
    kafka: str, postgres: str, migrated_template: str, name: str
) -> None:
    """The topic goes by the producers' clocks, and takes none that is a millisecond old."""

    async def break_it(installation: Installation) -> None:
        await set_topic(name, "message.timestamp.before.max.ms", "0")(installation)
        await set_topic(name, "message.timestamp.type", "CreateTime")(installation)

    async def mend_it(installation: Installation) -> None:
        await set_topic(name, "message.timestamp.type", "LogAppendTime")(installation)

    async with run_installation(kafka, postgres, migrated_template) as installation:
        word = topic_of(installation, name).name
        result = await turn_against(installation, name, word, break_it=break_it, mend_it=mend_it)
        report(f"{name}, message.timestamp: {result}")

    assert result.most <= 2


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guarded_kafka(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """A broker that asks who may do what."""
    folder = tmp_path_factory.mktemp("guarded") / "kafka"
    broker = await asyncio.to_thread(EmbeddedKafka.start, folder, extra=OPEN)
    try:
        yield broker.bootstrap_servers
    finally:
        await asyncio.to_thread(broker.stop)


def allow(name: str, *, allowed: bool) -> Act:
    """Deny writing to the topic of a process, or take that back."""

    def alter(installation: Installation) -> None:
        admin = AdminClient({"bootstrap.servers": installation.stack.kafka.bootstrap_servers}, logger=None)
        where = (ResourceType.TOPIC, topic_of(installation, name).name, ResourcePatternType.LITERAL, "User:*", "*")
        # with a rule of its own a topic is open no more: everything but writing is allowed
        rules = [
            (*where, AclOperation.WRITE, AclPermissionType.DENY),
            (*where, AclOperation.ALL, AclPermissionType.ALLOW),
        ]
        for rule in rules if allowed else rules[::-1]:
            futures = (
                admin.delete_acls([AclBindingFilter(*rule)]) if allowed else admin.create_acls([AclBinding(*rule)])
            )
            for future in futures.values():
                future.result(10)

    async def act(installation: Installation) -> None:
        await asyncio.to_thread(alter, installation)

    return act


@pytest.mark.parametrize("name", WRITERS)
async def test_a_permission_that_is_taken_away(
    guarded_kafka: str, postgres: str, migrated_template: str, name: str
) -> None:
    """An ACL that denies writing takes the permission away."""
    async with run_installation(guarded_kafka, postgres, migrated_template) as installation:
        result = await turn_against(
            installation,
            name,
            topic_of(installation, name).name,
            break_it=allow(name, allowed=False),
            mend_it=allow(name, allowed=True),
        )
        report(f"{name}, ACL: {result}")

    assert result.most <= 2


async def test_a_topic_that_is_deleted(kafka: str, postgres: str, migrated_template: str) -> None:
    """The attempts, under load; made again, deliver goes on. What was lost with the topic is named."""

    async def break_it(installation: Installation) -> None:
        admin = AdminClient({"bootstrap.servers": kafka}, logger=None)
        (deleted,) = admin.delete_topics([installation.stack.topics.attempts.name]).values()
        await asyncio.to_thread(deleted.result, 10)

    async with run_installation(kafka, postgres, migrated_template) as installation:
        result = await turn_against(
            installation,
            "deliver",
            installation.stack.topics.attempts.name,
            break_it=break_it,
            mend_it=Installation.make_topics_again,
            kills=0,
            may_lose=True,
        )
        report(f"deliver, attempts deleted: {result}")

    assert result.most <= 2


async def test_a_database_that_takes_nothing(kafka: str, postgres: str, migrated_template: str) -> None:
    """The archive's database is read-only: the archive waits, and no row is lost. One that starts waits, too."""

    def set_read_only(value: str) -> Act:
        async def act(installation: Installation) -> None:
            with psycopg.connect(installation.stack.database_url, autocommit=True) as connection:
                # its own session is read-only as well, once the database is
                connection.execute("set default_transaction_read_only = off")
                (name,) = connection.execute("select current_database()").fetchone() or ("",)
                connection.execute(f'alter database "{name}" set default_transaction_read_only = {value}'.encode())
                connection.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity "
                    "where datname = current_database() and pid <> pg_backend_pid()"
                )

        return act

    async with run_installation(kafka, postgres, migrated_template) as installation:
        result = await turn_against(
            installation, "archive", "postgres", break_it=set_read_only("on"), mend_it=set_read_only("off"), kills=0
        )
        report(f"archive, read-only database: {result}")

    assert result.most <= 2
