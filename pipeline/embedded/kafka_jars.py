"""Apache Kafka's jars: resolved once into a cache, checked against a committed lock at every start.

`python -m pipeline.embedded.kafka_jars --write-lock` renews the lock after a change of version.
"""

import fcntl
import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.embedded.errors import EmbeddedError

KAFKA_VERSION = "4.3.1"
LOG4J_VERSION = "2.25.3"
LOCK = Path(__file__).with_name("kafka-jars.lock")
# Every module is named: the resolver otherwise takes another version of kafka-clients, which does not fit the broker.
MODULES = (
    "kafka_2.13",
    "kafka-clients",
    "kafka-coordinator-common",
    "kafka-group-coordinator",
    "kafka-group-coordinator-api",
    "kafka-metadata",
    "kafka-raft",
    "kafka-server",
    "kafka-server-common",
    "kafka-share-coordinator",
    "kafka-storage",
    "kafka-storage-api",
    "kafka-tools-api",
    "kafka-transaction-coordinator",
)


def provide_jars(cache_dir: Path, progress: Callable[[str], None]) -> list[Path]:
    """The jars of the broker, downloaded if need be, every one checked. Raises `EmbeddedError`."""
    expected = json.loads(LOCK.read_text())
    place = cache_dir / f"kafka-{KAFKA_VERSION}-{_digest(LOCK.read_bytes())[:12]}"
    with _lock(cache_dir):
        if not place.is_dir():
            progress(f"downloading Apache Kafka {KAFKA_VERSION} ({len(expected)} jars, 45 MB, once) ...")
            _download(cache_dir, place, expected)
    found = {path.name: path for path in place.glob("*.jar")}
    _compare({name: _digest(path.read_bytes()) for name, path in found.items()}, expected, place)
    return [found[name] for name in sorted(found)]


def _download(cache_dir: Path, place: Path, expected: dict[str, str]) -> None:
    # resolved and copied aside, then renamed: a download that was cut off leaves nothing that looks whole
    with tempfile.TemporaryDirectory(dir=cache_dir, prefix="resolving-") as work:
        copied = Path(work) / "jars"
        copied.mkdir()
        for path in _resolve(Path(work)):
            shutil.copyfile(path, copied / path.name)
        _compare({path.name: _digest(path.read_bytes()) for path in copied.iterdir()}, expected, copied)
        copied.rename(place)


def _resolve(work: Path) -> list[Path]:
    import jgo

    parts = [f"org.apache.kafka:{module}:{KAFKA_VERSION}" for module in MODULES]
    parts += [f"org.apache.logging.log4j:{name}:{LOG4J_VERSION}" for name in ("log4j-core", "log4j-slf4j-impl")]
    with _output_to_stderr():
        try:
            environment = jgo.build("+".join(parts), cache_dir=work / "cache")
        except Exception as error:
            # the resolver raises whatever its HTTP client or its parser met
            raise EmbeddedError(
                f"cannot download Apache Kafka: {error}. It needs Maven Central once; "
                "or point HOOKLINE_KAFKA_BOOTSTRAP_SERVERS to a Kafka that runs already"
            ) from error
    return sorted(Path(environment.path).rglob("*.jar"))


def _compare(actual: dict[str, str], expected: dict[str, str], place: Path) -> None:
    problems = [f"{name} is missing" for name in sorted(expected.keys() - actual.keys())]
    problems += [f"{name} is not in the lock" for name in sorted(actual.keys() - expected.keys())]
    problems += [
        f"{name} has another SHA-256"
        for name in sorted(expected.keys() & actual.keys())
        if expected[name] != actual[name]
    ]
    if problems:
        raise EmbeddedError(
            f"refusing the jars in {place}: {'; '.join(problems)}. Remove that directory to download again"
        )


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@contextmanager
def _lock(cache_dir: Path) -> Iterator[None]:
    """One download at a time, whoever starts first."""
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        file = (cache_dir / "lock").open("w")
    except OSError as error:
        raise EmbeddedError(
            f"cannot write to {cache_dir}: {error.strerror}; set HOOKLINE_EMBEDDED_CACHE_DIR"
        ) from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def _output_to_stderr() -> Iterator[None]:
    """The resolver prints; standard output belongs to the command."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


def _write_lock() -> None:
    with tempfile.TemporaryDirectory() as work:
        hashes = {path.name: _digest(path.read_bytes()) for path in _resolve(Path(work))}
    LOCK.write_text(json.dumps(hashes, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    if sys.argv[1:] != ["--write-lock"]:
        sys.exit("usage: python -m pipeline.embedded.kafka_jars --write-lock")
    _write_lock()
