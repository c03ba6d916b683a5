"""The tests' Kafka: one real broker for the whole run, a topic prefix for each test.

`HOOKLINE_TEST_KAFKA=host:port` uses a broker that is already running, which saves the start at a desk. A broker that
cannot be had fails the tests that need it; nothing is skipped.
"""

import asyncio
import itertools
import os
import re
import socket
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from confluent_kafka import OFFSET_END, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from pipeline.config import KafkaConfig
from pipeline.topics import Topic
from tests.support.eventually import eventually
from tests.support.sharing import share

VARIABLE = "HOOKLINE_TEST_KAFKA"
ANSWER_TIMEOUT_S = 60.0
NAME_MAX_CHARS = 60
# a setting of topics on which nothing here depends, and values for it
MEANINGLESS = "file.delete.delay.ms"
NUMBERS = itertools.count(60_001)


@pytest.fixture(scope="session")
def kafka(pytestconfig: pytest.Config) -> Iterator[str]:
    """Bootstrap servers, `host:port`."""
    given = os.environ.get(VARIABLE)
    if given:
        check_reachable(given)
        yield given
        return
    with share(pytestconfig, start_kafka) as servers:
        yield servers


@contextmanager
def start_kafka() -> Iterator[str]:
    # imported here: unit tests do without
    from pipeline.embedded.kafka import EmbeddedKafka

    with tempfile.TemporaryDirectory(prefix="hookline-test-kafka-") as directory:
        broker = EmbeddedKafka.start(Path(directory), progress=report)
        try:
            yield broker.bootstrap_servers
        finally:
            broker.stop()


@pytest.fixture
def topic_prefix(kafka: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """The prefix of this test's topic names, unique to it. Its topics are deleted when it ends."""
    prefix = format_prefix(request.node.name, uuid4().hex[:8])
    yield prefix
    # a broker that kept every test's topics would have thousands of partitions in the end
    delete_topics(kafka, prefix)


def delete_topics(bootstrap_servers: str, prefix: str) -> list[str]:
    """Delete all topics whose names start with `prefix`; their names."""
    admin = AdminClient({"bootstrap.servers": bootstrap_servers}, logger=None)
    names = [name for name in admin.list_topics(timeout=ANSWER_TIMEOUT_S).topics if name.startswith(prefix)]
    futures = admin.delete_topics(names) if names else {}
    return [name for name, deleted in futures.items() if was_deleted(deleted)]


def was_deleted(deleted: "Future[None]") -> bool:
    """Wait for the end of a deletion; was the topic there? A broker's metadata has a deleted topic for a while."""
    try:
        deleted.result(ANSWER_TIMEOUT_S)
    except KafkaException as error:
        if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise
        return False
    return True


def delete_all_records(config: KafkaConfig, topic: Topic) -> None:
    """Delete what a topic has now, as a limit of the disk does: its partitions begin where they end."""
    admin = AdminClient({"bootstrap.servers": config.bootstrap_servers}, logger=None)
    ends = [TopicPartition(topic.name, number, OFFSET_END) for number in range(topic.partitions)]
    for deleted in admin.delete_records(ends).values():
        deleted.result(ANSWER_TIMEOUT_S)


async def alter_topic(bootstrap_servers: str, topic: Topic, name: str, value: str) -> None:
    """Change one setting of a topic, as an operator would; returns when the broker applies it.

    A broker shows a setting before it applies it, and applies one change after the other: once it shows a second one,
    which means nothing here, it has applied the first.
    """
    admin = AdminClient({"bootstrap.servers": bootstrap_servers}, logger=None)
    for changed, to in ((name, value), (MEANINGLESS, str(next(NUMBERS)))):
        await asyncio.to_thread(_alter_topic, admin, topic.name, changed, to)
        # the controller has taken it by now; a busy broker may follow seconds later
        await eventually(lambda changed=changed, to=to: _read_setting(admin, topic.name, changed) == to, timeout_s=60)  # type: ignore[misc]  # bound for this turn


def _read_setting(admin: AdminClient, topic: str, name: str) -> str | None:
    resource = ConfigResource(ResourceType.TOPIC, topic)
    (described,) = admin.describe_configs([resource]).values()
    value: str | None = described.result(ANSWER_TIMEOUT_S)[name].value
    return value


def _alter_topic(admin: AdminClient, topic: str, name: str, value: str) -> None:
    entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    for altered in admin.incremental_alter_configs([resource]).values():
        altered.result(ANSWER_TIMEOUT_S)


def format_prefix(test: str, unique: str) -> str:
    """`test_x[a b]` → `test-x-a-b-1f2e3d4c.`: only what topic names may hold, and never `_` beside `.`."""
    return f"{re.sub('[^a-zA-Z0-9]+', '-', test)[:NAME_MAX_CHARS].strip('-')}-{unique}."


def check_reachable(bootstrap_servers: str) -> None:
    """Raise ConnectionError, with what to do, when nothing listens at the first of them."""
    host, _, port = bootstrap_servers.split(",")[0].rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=ANSWER_TIMEOUT_S).close()
    except OSError as error:
        raise ConnectionError(f"no Kafka at {VARIABLE}={bootstrap_servers} ({error}); start it, or unset it") from error


def report(text: str) -> None:
    """Report an embedded service's progress to standard error, which pytest shows when a test fails."""
    sys.stderr.write(text + "\n")
