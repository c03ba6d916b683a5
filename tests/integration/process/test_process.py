"""Common behaviour of every process, as a real process: signals, exit codes, /health and /metrics."""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from tests.support.eventually import eventually
from tests.support.processes import ROOT

SCRIPT = """
import asyncio, sys, threading, time
from pipeline.config import load_settings
from pipeline.process import Process, run
from pipeline.start_error import StartError
import os

async def main(process: Process) -> None:
    what = sys.argv[1]
    if what == "refuse":
        raise StartError("there is no cheese; buy some")
    if what == "crash":
        raise RuntimeError("a mistake of ours")
    if what == "swallow":
        async def swallow() -> None:
            for _ in range(3):
                try:
                    await asyncio.sleep(600)
                except asyncio.CancelledError:
                    pass
        asyncio.create_task(swallow())
        await asyncio.sleep(0)
        raise StartError("there is no cheese; buy some")
    if what == "thread":
        asyncio.create_task(asyncio.to_thread(time.sleep, 600), name="sleeper")
        await asyncio.sleep(0.1)
        raise StartError("there is no cheese; buy some")
    if what == "starting":
        sys.stderr.write("starting\\n")
        await asyncio.to_thread(time.sleep, 600)
    if what == "deaf":
        sys.stderr.write("starting\\n")
        time.sleep(600)
    if what == "holding":
        import atexit, ctypes
        atexit.register(ctypes.PyDLL(None).sleep, 600)
        raise StartError("there is no cheese; buy some")
    async def fail() -> None:
        raise RuntimeError("a mistake of ours")
    def trip(*_: object) -> None:
        raise RuntimeError("a mistake of ours")
    if what == "task":
        process.supervisor.start("repair", fail())
    if what in ("callback", "done_callback"):
        from pipeline import process as ours
        source = "def trip(*_):\\n    raise RuntimeError('a mistake of ours')"
        exec(compile(source, ours.__file__, "exec"), globals())
        trip = globals()["trip"]
        if what == "callback":
            asyncio.get_running_loop().call_later(0.01, trip)
        else:
            asyncio.create_task(asyncio.sleep(0.01)).add_done_callback(trip)
    if what == "foreign":
        asyncio.get_running_loop().call_soon(trip)
    process.health.ready["cheese"] = lambda: "none" if what == "unready" else None
    process.health.alive["progress"] = lambda: "stuck" if what == "stuck" else None
    process.announce_ready(api="http://127.0.0.1:1")
    await process.stopping.wait()
    if what in ("linger", "task_and_linger"):
        await asyncio.sleep(600)

sys.exit(run("mouse", load_settings(os.environ), main))
"""
TIMEOUT_S = 120
# five seconds for the process, the rest for the interpreter to start on a busy machine
ENDS_WITHIN_S = 60
SHORT_STOP = {"HOOKLINE_PROCESS_STOP_TIMEOUT_S": "1", "HOOKLINE_WORKER_SHUTDOWN_GRACE_S": "0.1"}


class Running:
    def __init__(self, process: asyncio.subprocess.Process, run_dir: Path) -> None:
        self.process = process
        self._run_dir = run_dir

    async def addresses(self) -> dict[str, Any]:
        """The addresses that the process announced."""

        def find() -> list[Path]:
            return list(self._run_dir.glob("mouse.*.json"))

        (path,) = await eventually(find, timeout_s=TIMEOUT_S)
        announced: dict[str, Any] = json.loads(path.read_text())
        return announced

    async def end(self) -> tuple[int, str]:
        """Wait for the end: exit code, and the log."""
        async with asyncio.timeout(TIMEOUT_S):
            _, logged = await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode, logged.decode()

    async def ask(self, path: str) -> tuple[int, Any]:
        base = (await self.addresses())["metrics"].removesuffix("/metrics")
        async with aiohttp.ClientSession() as session, session.get(base + path) as response:
            is_json = response.content_type == "application/json"
            return response.status, await response.json() if is_json else await response.text()


@asynccontextmanager
async def start(what: str, run_dir: Path, **environ: str) -> AsyncIterator[Running]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        SCRIPT,
        what,
        stderr=asyncio.subprocess.PIPE,
        cwd=ROOT,
        pass_fds=[int(fd) for name, fd in environ.items() if name.endswith("_FD")],
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith("HOOKLINE_")},
            "HOOKLINE_PROCESS_RUN_DIR": str(run_dir),
            **environ,
        },
    )
    try:
        yield Running(process, run_dir)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_a_signal_stops_it_in_order(tmp_path: Path) -> None:
    """SIGTERM and SIGINT alike: `main` ends its work, and the exit code is 0."""
    for number in (signal.SIGTERM, signal.SIGINT):
        (tmp_path / number.name).mkdir()
        async with start("well", tmp_path / number.name) as running:
            await running.addresses()
            running.process.send_signal(number)
            code, logged = await running.end()

        assert 0 == code
        assert [True, True, True] == [word in logged for word in ('"ready"', '"stopping"', '"stopped"')]


async def test_a_second_signal_stops_it_at_once(tmp_path: Path) -> None:
    """An impatient operator need not use kill -9."""
    async with start("linger", tmp_path) as running:
        await running.addresses()
        running.process.send_signal(signal.SIGTERM)
        # it has heard the first one
        assert running.process.stderr is not None
        while b'"stopping"' not in await running.process.stderr.readline():
            pass
        running.process.send_signal(signal.SIGTERM)
        code, logged = await running.end()

    assert 130 == code
    assert "stopping_at_once" in logged


async def test_a_start_that_is_refused_is_one_clear_line(tmp_path: Path) -> None:
    """Exit code 2, the reason with what to do, no traceback."""
    async with start("refuse", tmp_path) as running:
        code, logged = await running.end()
    (line,) = logged.splitlines()

    assert 2 == code
    assert "there is no cheese; buy some" == json.loads(line)["reason"]


async def test_a_crash_is_told_with_its_traceback(tmp_path: Path) -> None:
    """Exit code 1: its supervisor starts it again."""
    async with start("crash", tmp_path) as running:
        code, logged = await running.end()

    assert 1 == code
    assert "a mistake of ours" in logged
    assert "Traceback" in logged


async def test_health_tells_what_is_wrong(tmp_path: Path) -> None:
    """Ready and alive are two questions: not ready is no reason to be restarted."""
    answers = {}
    for what in ("well", "unready", "stuck"):
        (tmp_path / what).mkdir()
        async with start(what, tmp_path / what) as running:
            health, live = await running.ask("/health"), await running.ask("/health/live")
            answers[what] = (health[0], live[0], health[1]["ready"], health[1]["alive"], health[1]["problems"])

    assert answers == {
        "well": (200, 200, True, True, {}),
        "unready": (503, 200, False, True, {"cheese": "none"}),
        "stuck": (503, 503, True, False, {"progress": "stuck"}),
    }


async def test_metrics_are_served(tmp_path: Path) -> None:
    """Metrics are in Prometheus' text format, with the process' name, where it announced it."""
    async with start("well", tmp_path) as running:
        status, text = await running.ask("/metrics")

    assert 200 == status
    assert 'hookline_process_info{process="mouse"} 1.0' in text


async def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    """The message names the setting to change."""
    (tmp_path / "first").mkdir()
    async with start("well", tmp_path / "first") as running:
        port = (await running.addresses())["metrics"].removesuffix("/metrics").rpartition(":")[2]
        async with start("well", tmp_path, HOOKLINE_PROCESS_METRICS_PORT=port) as second:
            code, logged = await second.end()

    assert 2 == code
    assert "HOOKLINE_PROCESS_METRICS_PORT" in logged


async def test_it_ends_with_its_parent(tmp_path: Path) -> None:
    """A parent that is gone, even by kill -9, closes the pipe between them."""
    ours, theirs = os.pipe()
    try:
        async with start("well", tmp_path, HOOKLINE_PROCESS_PARENT_WATCH_FD=str(ours)) as running:
            await running.addresses()
            os.close(theirs)
            code, logged = await running.end()
    finally:
        os.close(ours)

    assert 0 == code
    assert "the parent process is gone" in logged


async def test_a_start_that_is_refused_ends_whatever_hangs(tmp_path: Path) -> None:
    """The process ends soon with its reason and code: a task swallows its cancellation, or a thread sleeps."""
    for what in ("swallow", "thread"):
        async with start(what, tmp_path) as running:
            begun_s = time.monotonic()
            code, logged = await running.end()

        assert 2 == code
        assert "there is no cheese; buy some" in logged
        assert time.monotonic() - begun_s < ENDS_WITHIN_S
    assert '"ended_hard"' in logged  # the thread; what swallows is cancelled again


async def test_it_ends_while_a_library_holds_the_interpreter(tmp_path: Path) -> None:
    """No thread of Python runs then, and the process ends nevertheless."""
    async with start("holding", tmp_path) as running:
        code, logged = await running.end()

    assert 1 == code
    assert "there is no cheese; buy some" in logged
    assert "Timeout" in logged


async def test_a_signal_is_heard_from_the_first_moment(tmp_path: Path) -> None:
    """A signal is heard while the process starts, and while its loop is stuck in a call."""

    async def stop(what: str) -> tuple[int, str]:
        (tmp_path / what).mkdir()
        async with start(what, tmp_path / what, **SHORT_STOP) as running:
            assert running.process.stderr is not None
            while b"starting" not in await running.process.stderr.readline():
                pass
            running.process.send_signal(signal.SIGTERM)
            return await running.end()

    (starting, _), (deaf, logged) = await asyncio.gather(*map(stop, ("starting", "deaf")))

    assert (0, 1) == (starting, deaf)
    assert '"ended_hard"' in logged
    assert "MainThread: <string>" in logged  # where it was stuck


async def test_work_in_the_background_that_fails_ends_the_process(tmp_path: Path) -> None:
    """A task, a callback of the loop, a callback of a future: exit code 1 and the reason."""
    for what in ("task", "callback", "done_callback"):
        async with start(what, tmp_path) as running:
            code, logged = await running.end()

        assert (what, 1) == (what, code)
        assert "a mistake of ours" in logged
        assert "background_failed" in logged


async def test_a_callback_of_a_library_that_fails_is_logged_only(tmp_path: Path) -> None:
    """A failure of one connection is no reason to end all the others."""
    async with start("foreign", tmp_path) as running:
        await running.addresses()
        running.process.send_signal(signal.SIGTERM)
        code, logged = await running.end()

    assert 0 == code
    assert '"loop_error"' in logged


async def test_it_begins_when_it_may(tmp_path: Path) -> None:
    """Started early, it is up but does no work until the pipe closes; a signal meanwhile stops it in order."""
    for is_stopped in (False, True):
        run_dir = tmp_path / str(is_stopped)
        run_dir.mkdir()
        awaited, begin = os.pipe()
        try:
            async with start("starting", run_dir, HOOKLINE_PROCESS_START_FD=str(awaited)) as running:
                if is_stopped:
                    await eventually(lambda: _takes_signals(running.process.pid))
                    running.process.terminate()
                    code, logged = await running.end()

                    assert 0 == code
                    assert "starting\n" not in logged
                else:
                    os.close(begin)
                    assert running.process.stderr is not None
                    async with asyncio.timeout(TIMEOUT_S):
                        first = await running.process.stderr.readline()

                    assert b"starting\n" == first
        finally:
            os.close(awaited)
            if is_stopped:
                os.close(begin)


def _takes_signals(pid: int) -> bool:
    """A thread of its own takes them: they are blocked in all others."""
    status = Path(f"/proc/{pid}/status").read_text()
    blocked = int(status.partition("SigBlk:")[2].split()[0], 16)
    return bool(blocked >> (signal.SIGTERM - 1) & 1)
