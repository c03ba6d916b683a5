"""A real Apache Kafka from packages: ready when it says so, keeps its data, refuses what would spoil it."""

import os
import shutil
import signal
import socket
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from pipeline.embedded.errors import EmbeddedError
from pipeline.embedded.kafka import EmbeddedKafka
from pipeline.embedded.kafka_jars import provide_jars
from pipeline.embedded.progress import keep_silent
from tests.integration.embedded.processes import is_gone
from tests.support.eventually import eventually

TOPIC = "kept"
LARGE_BYTES = 3 * 1024 * 1024


@pytest.fixture
def spoiled_cache(tmp_path: Path) -> Path:
    """A cache with the real jars, one of them altered."""
    jars = provide_jars(None, keep_silent)
    place = tmp_path / "cache" / jars[0].parent.name
    place.mkdir(parents=True)
    for jar in jars:
        shutil.copyfile(jar, place / jar.name)
    with (place / jars[0].name).open("ab") as altered:
        altered.write(b"!")
    return tmp_path / "cache"


def _create_topic(kafka: EmbeddedKafka) -> None:
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    for created in admin.create_topics([NewTopic(TOPIC, 3, 1, config={"max.message.bytes": "4194304"})]).values():
        created.result(30)


def _produce(kafka: EmbeddedKafka, value: bytes) -> None:
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "message.max.bytes": 4 * 1024 * 1024})
    producer.produce(TOPIC, value, partition=2)
    assert producer.flush(30) == 0


def _read(kafka: EmbeddedKafka) -> bytes:
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap_servers, "group.id": "test", "enable.auto.commit": False})
    try:
        consumer.assign([TopicPartition(TOPIC, 2, 0)])
        record = consumer.poll(30)
        assert record is not None
        assert record.error() is None
        return record.value() or b""
    finally:
        consumer.close()


def test_a_second_start_on_another_port_keeps_topics_and_records(tmp_path: Path) -> None:
    """Records acknowledged before a stop are there after the next start; a record of 3 MiB fits."""
    first = EmbeddedKafka.start(tmp_path)
    try:
        _create_topic(first)
        _produce(first, b"x" * LARGE_BYTES)
    finally:
        first.stop()
    assert is_gone(first.pid)

    second = EmbeddedKafka.start(tmp_path)
    try:
        assert first.bootstrap_servers != second.bootstrap_servers
        assert _read(second) == b"x" * LARGE_BYTES
    finally:
        second.stop()


@pytest.mark.parametrize("name", ["with spaces", "ä ü", "キュー", "it's 100% #1"])
def test_any_name_of_a_directory_will_do(tmp_path: Path, name: str) -> None:
    """Java reads its properties in another encoding than its arguments; both find the directory."""
    kafka = EmbeddedKafka.start(tmp_path / name)
    try:
        _create_topic(kafka)
        _produce(kafka, b"x")
        assert b"x" == _read(kafka)
    finally:
        kafka.stop()

    assert [name] == [each.name for each in tmp_path.iterdir()]
    assert (tmp_path / name / "log" / f"{TOPIC}-2").is_dir()
    assert (tmp_path / name / "server.log").is_file()


def test_a_comma_in_a_path_is_refused(tmp_path: Path) -> None:
    """Kafka would take it for two directories."""
    with pytest.raises(EmbeddedError, match=r"has a comma.*choose another directory"):
        EmbeddedKafka.start(tmp_path / "a,b")


async def test_kill_9_of_broker_and_guard_keeps_records(tmp_path: Path) -> None:
    """Acknowledged records are in the operating system's hands: they outlive the process."""
    first = EmbeddedKafka.start(tmp_path)
    _create_topic(first)
    _produce(first, b"acknowledged")
    os.kill(first.pid, signal.SIGKILL)
    first.guarded.guard.kill()
    await eventually(lambda: is_gone(first.pid))
    first.stop()

    second = EmbeddedKafka.start(tmp_path)
    try:
        assert _read(second) == b"acknowledged"
    finally:
        second.stop()


def test_a_jar_with_another_hash_is_refused(tmp_path: Path, spoiled_cache: Path) -> None:
    """Nothing runs that the lock does not know."""
    with pytest.raises(EmbeddedError, match=r"refusing the jars in .*has another SHA-256"):
        EmbeddedKafka.start(tmp_path / "data", cache_dir=spoiled_cache)


def test_data_of_another_version_is_refused(tmp_path: Path) -> None:
    """The message says what to do; the data stays as it was."""
    (tmp_path / "version").write_text("3.9\n")

    with pytest.raises(EmbeddedError, match=r"holds data of Apache Kafka 3\.9"):
        EmbeddedKafka.start(tmp_path)


@pytest.mark.parametrize(("option", "name"), [("port", "Kafka"), ("controller_port", "Kafka's controller")])
def test_a_taken_port_is_refused(tmp_path: Path, option: str, name: str) -> None:
    """The refusal comes before anything is started."""
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(EmbeddedError, match=f"for {name} is taken"):
        EmbeddedKafka.start(tmp_path, **{option: other.getsockname()[1]})
