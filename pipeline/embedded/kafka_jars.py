"""Apache Kafka's jars: downloaded once into a cache, every one checked against a committed lock at every start.

After a change of version: `python -m pipeline.embedded.kafka_jars --write-lock` writes the lock again; look at its
difference before you commit it. A line of the lock is a jar's name, version and SHA-256.
"""

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from pipeline.embedded.data_dir import expand, lock_directory, make_directory
from pipeline.embedded.errors import EmbeddedError
from pipeline.embedded.guarded import Guarded, start_guarded
from pipeline.embedded.progress import Progress

KAFKA_VERSION = "4.3.1"
LOG4J_VERSION = "2.25.3"
LOCK = Path(__file__).with_name("kafka-jars.lock")
DEFAULT_CACHE_DIR = Path("~/.cache/hookline")
CACHE_SETTING = "HOOKLINE_EMBEDDED_CACHE_DIR"
DOWNLOAD_TIMEOUT_S = 900.0  # how long to wait for another process' download
REPORT_INTERVAL_S = 2.0
_NAME = "download of Apache Kafka"
_FETCH = Path(__file__).with_name("maven.py")
_JAR = re.compile(r"(?P<name>.+?)-(?P<version>\d.*)\.jar")
# Every module is named: the resolver otherwise takes another version of kafka-clients, which does not fit the broker.
_KAFKA_MODULES = (
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
_LOG4J_MODULES = ("log4j-core", "log4j-slf4j-impl")


def provide_jars(cache_dir: Path | None, progress: Progress) -> list[Path]:
    """The broker's jars, from the cache (None: ~/.cache/hookline) or downloaded into it. Raises `EmbeddedError`."""
    cache_dir = expand(cache_dir or DEFAULT_CACHE_DIR, setting=CACHE_SETTING)
    if ":" in str(cache_dir):
        raise EmbeddedError(f"{cache_dir} has a colon, which separates places of Java's classes: set {CACHE_SETTING}")
    expected = read_lock(LOCK)
    # another lock has another place: two versions of Hookline can share a cache
    place = cache_dir / f"kafka-{KAFKA_VERSION}-{_digest(LOCK)[:12]}"
    if not place.is_dir():
        make_directory(cache_dir, setting=CACHE_SETTING)
        with lock_directory(cache_dir, _NAME, progress, timeout_s=DOWNLOAD_TIMEOUT_S) as lock:
            if not place.is_dir():
                progress(f"downloading Apache Kafka {KAFKA_VERSION} ({len(expected)} jars, 45 MB, only this once) ...")
                _download(cache_dir, place, expected, progress, lock)
    return check_jars(place, expected)


def read_lock(lock: Path) -> dict[str, str]:
    """File name to SHA-256."""
    rows = (line.split() for line in lock.read_text().splitlines())
    return {f"{name}-{version}.jar": digest for name, version, digest in rows}


def check_jars(place: Path, expected: Mapping[str, str]) -> list[Path]:
    """The jars of a directory, if they are exactly the expected ones. Raises `EmbeddedError` with every difference."""
    found = {path.name: path for path in sorted(place.glob("*.jar"))}
    problems = [f"{name} is missing" for name in sorted(expected.keys() - found.keys())]
    problems += [f"{name} is not in the lock" for name in sorted(found.keys() - expected.keys())]
    problems += [
        f"{name} has another SHA-256"
        for name in sorted(expected.keys() & found.keys())
        if expected[name] != _digest(found[name])
    ]
    if problems:
        raise EmbeddedError(
            f"refusing the jars in {place}: {'; '.join(problems)}. Remove that directory and start again: they are "
            "downloaded anew; if it happens again, what answers as Maven Central is not what it should be"
        )
    return list(found.values())


def _download(cache_dir: Path, place: Path, expected: Mapping[str, str], progress: Progress, lock: int) -> None:
    for left_behind in cache_dir.glob("download-*"):  # by a download that was killed; we hold the lock
        shutil.rmtree(left_behind, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=cache_dir, prefix="download-") as work:
        jars = _fetch(Path(work), len(expected), progress, lock)
        check_jars(jars, expected)
        # only a complete and checked set gets the name that the next start looks for
        jars.rename(place)


def _fetch(work: Path, count: int, progress: Progress, lock: int) -> Path:
    target, repository, log_file = work / "jars", work / "repository", work / "log"
    target.mkdir()
    coordinates = [f"org.apache.kafka:{module}:{KAFKA_VERSION}" for module in _KAFKA_MODULES]
    coordinates += [f"org.apache.logging.log4j:{module}:{LOG4J_VERSION}" for module in _LOG4J_MODULES]
    fetching = start_guarded(
        _NAME,
        [sys.executable, "-P", str(_FETCH), str(target), *coordinates],
        stop_signal=signal.SIGKILL,  # its leftovers are deleted
        grace_s=1.0,
        log_file=log_file,
        lock=lock,
        # ours, because the way out may lead through a proxy; but a separate repository: other content of the user's
        # can neither help nor harm
        environment={**os.environ, "M2_REPO": str(repository)},
    )
    try:
        _report(fetching, repository, count, progress)
    finally:
        fetching.stop(5.0)
    if fetching.guard.returncode != 0:
        said = log_file.read_text(errors="replace").strip().splitlines() or ["it said nothing"]
        raise EmbeddedError(
            f"cannot download Apache Kafka: {said[-1]}. It needs Maven Central this once: check the network and start "
            "again, or set HOOKLINE_KAFKA_BOOTSTRAP_SERVERS to a Kafka that runs already"
        )
    shutil.rmtree(target / "environment")
    return target


def _report(fetching: Guarded, repository: Path, count: int, progress: Progress) -> None:
    reported = (0, 0)  # descriptions and jars
    while fetching.is_alive():
        # descriptions say what else is needed: they come first, and take most of the time
        arrived = (sum(1 for _ in repository.rglob("*.pom")), sum(1 for _ in repository.rglob("*.jar")))
        if arrived != reported:
            progress(f"read {arrived[0]} descriptions, downloaded {arrived[1]} of {count} jars ...")
            reported = arrived
        with suppress(subprocess.TimeoutExpired):
            fetching.guard.wait(REPORT_INTERVAL_S)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_lock() -> None:
    def say(line: str) -> None:
        sys.stderr.write(line + "\n")

    with tempfile.TemporaryDirectory() as work, lock_directory(Path(work), _NAME, say) as lock:
        rows = []
        for jar in sorted(_fetch(Path(work), len(read_lock(LOCK)), say, lock).glob("*.jar")):
            parts = _JAR.fullmatch(jar.name)
            if parts is None:
                raise EmbeddedError(f"{jar.name} does not look like NAME-VERSION.jar")
            rows.append(f"{parts['name']} {parts['version']} {_digest(jar)}\n")
    LOCK.write_text("".join(rows))


if __name__ == "__main__":
    if sys.argv[1:] != ["--write-lock"]:
        sys.exit("usage: python -m pipeline.embedded.kafka_jars --write-lock")
    _write_lock()
