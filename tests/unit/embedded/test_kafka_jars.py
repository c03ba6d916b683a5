"""The jars are exactly those of the lock, or Kafka is not started."""

import hashlib
import re
from pathlib import Path

import pytest

from pipeline.embedded.errors import EmbeddedError
from pipeline.embedded.kafka_jars import KAFKA_VERSION, LOCK, check_jars, read_lock


def _fill(place: Path, **contents: bytes) -> dict[str, str]:
    """Write one jar per argument; what a lock would say about them."""
    for name, content in contents.items():
        (place / f"{name}-1.0.jar").write_bytes(content)
    return {f"{name}-1.0.jar": hashlib.sha256(content).hexdigest() for name, content in contents.items()}


def test_the_expected_jars_are_returned_in_order(tmp_path: Path) -> None:
    """A directory that holds what the lock says is accepted; the class path is the same every time."""
    expected = _fill(tmp_path, second=b"2", first=b"1")

    assert [tmp_path / "first-1.0.jar", tmp_path / "second-1.0.jar"] == check_jars(tmp_path, expected)


def test_every_difference_is_named(tmp_path: Path) -> None:
    """A changed, a missing and an extra jar are all refused, in one message that says what to do."""
    expected = _fill(tmp_path, changed=b"1", missing=b"2")
    _fill(tmp_path, changed=b"other", extra=b"3")
    (tmp_path / "missing-1.0.jar").unlink()

    with pytest.raises(EmbeddedError) as refusal:
        check_jars(tmp_path, expected)

    for part in (
        "changed-1.0.jar has another SHA-256",
        "missing-1.0.jar is missing",
        "extra-1.0.jar is not in the lock",
        "Remove that directory",
    ):
        assert part in str(refusal.value)


def test_the_lock_pins_the_broker_and_its_client_to_one_version() -> None:
    """The resolver's trap: left alone it takes an older kafka-clients, which does not fit the broker."""
    expected = read_lock(LOCK)

    assert f"kafka_2.13-{KAFKA_VERSION}.jar" in expected
    assert f"kafka-clients-{KAFKA_VERSION}.jar" in expected


def test_the_lock_holds_names_versions_and_hashes_only() -> None:
    """No line of the lock says where a jar came from."""
    wrong = [
        line for line in LOCK.read_text().splitlines() if not re.fullmatch(r"[\w.-]+ \d[\w.-]* [0-9a-f]{64}", line)
    ]

    assert wrong == []
