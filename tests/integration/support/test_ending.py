"""A run of tests that is ended from outside leaves no process, whatever its tests had started."""

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.conftest import pytest_plugins
from tests.support.eventually import eventually
from tests.support.processes import ROOT, describe, is_running

# Each test writes a file when all that it needs runs, and never ends by itself. The child of the second is deaf, and
# belongs to a session of its own, as those of `hookline up` do.
PROCESSES = """
import asyncio
import os
import subprocess
import sys
from pathlib import Path

from tests.support.single_process import SingleProcess


async def test_processes(kafka, topic_prefix):
    environ = {"HOOKLINE_KAFKA_BOOTSTRAP_SERVERS": kafka, "HOOKLINE_KAFKA_TOPIC_PREFIX": topic_prefix}
    subprocess.run([sys.executable, "-m", "pipeline.cli", "topics", "apply"], env=os.environ | environ, check=True)
    async with SingleProcess("matcher", environ):
        Path(__file__).with_name("processes.started").touch()
        await asyncio.Event().wait()
"""
OTHERS = """
import subprocess
import sys
import threading
from pathlib import Path

DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); signal.pause()"


def test_a_deaf_child(postgres):
    child = subprocess.Popen([sys.executable, "-c", DEAF], stdout=subprocess.PIPE, start_new_session=True)
    child.stdout.readline()
    Path(__file__).with_name("others.started").touch()
    threading.Event().wait()
"""
FILES = {"test_processes.py": PROCESSES, "test_others.py": OTHERS}
# Kafka and PostgreSQL of another run are started from files that may have to be fetched first.
START_TIMEOUT_S = 240.0
# five seconds of grace, the stop of Kafka, and a busy machine
END_TIMEOUT_S = 60.0


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder for tests and for temporary files of a run, which PostgreSQL's user can pass."""
    with tempfile.TemporaryDirectory(prefix="hookline-test-run-") as name:
        Path(name).chmod(0o755)
        for file, text in FILES.items():
            Path(name, file).write_text(text)
        yield Path(name)


def find(folder: Path, pattern: str) -> list[Path]:
    """Find files that the run has made."""
    return list(folder.glob(pattern))


@pytest.mark.parametrize(
    ("number", "is_group"), [(signal.SIGTERM, False), (signal.SIGTERM, True), (signal.SIGKILL, False)]
)
async def test_a_distributed_run_leaves_no_process(folder: Path, number: signal.Signals, is_group: bool) -> None:
    """Services, processes and deaf children end with a run that gets a signal, alone or as a group."""
    run = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "load"),
        *(word for plugin in pytest_plugins for word in ("-p", plugin)),
        *("-c", str(ROOT / "pyproject.toml"), "-p", "no:cacheprovider", *(str(folder / file) for file in FILES)),
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(folder), "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    assert run.stdout is not None
    reading = asyncio.create_task(run.stdout.read())

    def has_started() -> bool:
        if reading.done():
            raise RuntimeError(f"the run ended: {reading.result().decode()}")
        return len(find(folder, "*.started")) == len(FILES)

    await eventually(has_started, timeout_s=START_TIMEOUT_S)
    started = psutil.Process(run.pid).children(recursive=True)
    commands = "\n".join(describe(process) for process in started)
    (os.killpg if is_group else os.kill)(run.pid, number)

    def all_ended() -> bool:
        left = [describe(process) for process in started if is_running(process)]
        assert not left, left
        return True

    await eventually(all_ended, timeout_s=END_TIMEOUT_S)
    output = (await reading).decode()
    code = await run.wait()

    for part in ("pipeline.cli matcher", "signal.pause", "bin/java", "postgres", "reaper.py"):
        assert part in commands
    if number == signal.SIGTERM:
        assert (pytest.ExitCode.INTERRUPTED, []) == (code, find(folder, "hookline-test-kafka-*")), output
