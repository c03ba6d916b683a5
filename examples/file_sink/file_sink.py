"""A sink of one's own: every attempt becomes a line of JSON in a file, or on the standard output.

    pip install ./examples/file_sink
    hookline write-attempts --path attempts.jsonl

The runtime reads, batches, commits and rebalances. Lines come at least once: after a crash, those written since the
last commit are written again, with the same attempt id.
"""

import asyncio
import os
from collections.abc import Hashable, Mapping, Sequence

import click
import msgspec

from connectors.runtime.runtime import Runtime
from connectors.sink import Incoming, LogRecord, Place
from pipeline import process
from pipeline.config import load_settings
from pipeline.core.events.records import Attempt, expect
from pipeline.core.lanes.fixed_gate import FixedGate
from pipeline.core.log.commit_note import CommitNote
from pipeline.ending import leave
from pipeline.topics import declare_topics_for
from schemas import SchemaError


class FileSink:
    """One lane, so that lines come in the order of the log. Satisfies `connectors.sink.Sink`."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._gate = FixedGate(1)

    def classify(self, record: LogRecord) -> Incoming:
        try:
            attempt = expect(Attempt, record.value or b"")
            line = {"attempt_id": attempt.attempt_id, "outcome": attempt.outcome, "status": attempt.response_status}
        except SchemaError as error:
            line = {"partition": record.partition, "offset": record.offset, "unreadable": str(error)}
        return Incoming(msgspec.json.encode(line) + b"\n", lane="file")

    def gate(self, lane: Hashable) -> FixedGate:
        return self._gate

    async def put(self, works: Sequence[bytes]) -> None:
        await asyncio.to_thread(self._append, b"".join(works))

    async def assigned(self, notes: Mapping[Place, CommitNote | None]) -> Mapping[Place, int]:
        return {}  # begin where Kafka says

    async def revoked(self, places: Sequence[Place]) -> None: ...

    def _append(self, lines: bytes) -> None:
        with click.open_file(self._path, "ab") as file:
            file.write(lines)
            file.flush()  # a line that is only in a buffer must not be committed


@click.command()
@click.option("--path", default="-", help="The file to append to; - is the standard output.")
def write_attempts(path: str) -> None:
    """Write every attempt as a line of JSON."""

    async def main(running: process.Process) -> None:
        kafka = running.settings.kafka
        runtime = Runtime(
            FileSink(path),
            kafka=kafka,
            config=running.settings.worker,
            metrics=running.metrics,
            group=f"{kafka.topic_prefix}write-attempts",
            lead=[declare_topics_for(kafka).attempts],
            open_max=1,
            batch_max=500,
            skips_probes=True,
        )
        running.announce_ready()
        await runtime.run(running.stopping)

    leave(process.run("write-attempts", load_settings(os.environ), main))
