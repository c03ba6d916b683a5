from pathlib import Path

import pytest
from pydantic import SecretStr

from pipeline.config import KafkaConfig
from pipeline.kafka.options import connect_options, consumer_options, producer_options, view_options

MIB = 1024 * 1024


def test_a_producer_never_loses_repeats_or_reorders() -> None:
    """Acknowledged means by all in-sync replicas, once, in order, in the partition every client looks in."""
    options = producer_options(KafkaConfig(), linger_ms=1, timeout_s=5)

    assert ("all", True, "murmur2_random") == (
        options["acks"],
        options["enable.idempotence"],
        options["partitioner"],
    )
    assert (1, 5000) == (options["linger.ms"], options["message.timeout.ms"])


@pytest.mark.parametrize("timeout_s", [0.1, 5.0, 300.0])
def test_a_request_never_outlives_its_record_by_much(timeout_s: float) -> None:
    """The caller is told in time; a request takes at least a second, at most as long as a broker may be silent."""
    options = producer_options(KafkaConfig(), linger_ms=1, timeout_s=timeout_s)

    assert 1000 <= int(options["request.timeout.ms"]) <= 10_000
    assert int(timeout_s * 1000) == options["message.timeout.ms"]


def test_a_silent_connection_is_soon_replaced() -> None:
    """A broker that holds a client back is silent on its connection for minutes, and so is one that has stopped."""
    config = KafkaConfig()
    readers = (consumer_options(config, group="g", member=None), view_options(config))

    for options in (connect_options(config), *readers, producer_options(config, linger_ms=1, timeout_s=300)):
        assert int(options["socket.timeout.ms"]) <= 10_000


@pytest.mark.parametrize("record_max_mib", [1, 4, 64])
def test_the_largest_record_passes_everywhere(record_max_mib: int) -> None:
    """The record fits into the producer's buffer, and into a consumer's fetch."""
    config = KafkaConfig(record_max_bytes=record_max_mib * MIB, produce_buffer_max_bytes=MIB)
    produced = producer_options(config, linger_ms=1, timeout_s=5)

    assert record_max_mib * MIB == produced["message.max.bytes"]
    assert int(produced["queue.buffering.max.kbytes"]) * 1024 > record_max_mib * MIB
    for options in (consumer_options(config, group="g", member=None), view_options(config)):
        assert record_max_mib * MIB <= int(options["fetch.message.max.bytes"])


def test_a_consumer_commits_nothing_by_itself() -> None:
    """Only our watermark commits; a silent member is missed in time; a rebalance takes only what has to move."""
    options = consumer_options(KafkaConfig(session_timeout_s=10), group="g", member=None)

    assert (False, False) == (options["enable.auto.commit"], options["enable.auto.offset.store"])
    assert "cooperative-sticky" == options["partition.assignment.strategy"]
    assert 10_000 == options["session.timeout.ms"]
    assert 3 * int(options["heartbeat.interval.ms"]) < 10_000
    assert "group.instance.id" not in options


def test_a_static_member_has_its_name() -> None:
    """A quick restart gets its partitions back without a rebalance."""
    assert "m" == consumer_options(KafkaConfig(), group="g", member="m")["group.instance.id"]


@pytest.mark.parametrize(
    ("tls", "username", "protocol"),
    [(False, None, None), (True, None, "SSL"), (False, "u", "SASL_PLAINTEXT"), (True, "u", "SASL_SSL")],
)
def test_how_to_connect(tls: bool, username: str | None, protocol: str | None) -> None:
    """TLS and SASL each by itself, or together."""
    config = KafkaConfig(tls=tls, username=username, password=SecretStr("p"), ca_file=Path("/ca.pem"))
    options = connect_options(config)

    assert protocol == options.get("security.protocol")
    assert (("u", "p", "SCRAM-SHA-512") if username else (None, None, None)) == (
        options.get("sasl.username"),
        options.get("sasl.password"),
        options.get("sasl.mechanism"),
    )
    assert ("/ca.pem" if tls else None) == options.get("ssl.ca.location")
