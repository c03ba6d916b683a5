"""Kill -9 of the process that started the services leaves nothing behind, and what was written stays."""

import asyncio
import sys
from pathlib import Path

import psutil

from pipeline.embedded.postgres import EmbeddedPostgres
from tests.integration.embedded.processes import is_gone
from tests.support.eventually import eventually

STARTER = """
import sys, time
from pathlib import Path
from pipeline.embedded.kafka import EmbeddedKafka
from pipeline.embedded.postgres import EmbeddedPostgres
kafka = EmbeddedKafka.start(Path(sys.argv[1]) / "kafka")
postgres = EmbeddedPostgres.start(Path(sys.argv[1]) / "postgres")
print(kafka.pid, postgres.pid, flush=True)
time.sleep(600)
"""


async def test_kill_9_of_the_starter_ends_kafka_and_postgres(tmp_path: Path) -> None:
    """Services, their guards and their own children all go; standard output had our line only."""
    starter = await asyncio.create_subprocess_exec(
        sys.executable, "-c", STARTER, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert starter.stdout is not None
    line = await starter.stdout.readline()
    descendants = [process.pid for process in psutil.Process(starter.pid).children(recursive=True)]
    starter.kill()
    await starter.wait()
    kafka_pid, postgres_pid = map(int, line.split())
    assert {kafka_pid, postgres_pid} < set(descendants)

    await eventually(lambda: all(is_gone(pid) for pid in descendants), timeout_s=120)

    again = EmbeddedPostgres.start(tmp_path / "postgres")
    again.stop()
    assert is_gone(again.pid)
