"""The real product for e2e and chaos tests: `hookline up` as a user starts it, and the processes below it.

Everything is ended by the pid of a process that this one started. The services inside are found through
`HooklineUp.report`, receivers and proxies have modules of their own.
"""

import asyncio
import atexit
import contextlib
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import psutil

from tests.support.eventually import eventually

ROOT = Path(__file__).resolve().parents[2]
UP = (sys.executable, "-m", "pipeline.cli", "up", "--json")
START_TIMEOUT_S = 240.0  # the first start on a machine downloads Kafka
STOP_TIMEOUT_S = 60.0
TAIL_LINES = 15
# The desk's own settings would change what is tested, and the tests' own variables are no settings at all.
KEPT_SECTION = "HOOKLINE_EMBEDDED_"
# Lists the installations that run: those of the desk, and of other workers, are not found by what is tested.
STATE_HOME = tempfile.mkdtemp(prefix="hookline-test-state-")
atexit.register(shutil.rmtree, STATE_HOME, ignore_errors=True)


class UpReport(msgspec.Struct, frozen=True, kw_only=True):
    """The report of `hookline up --json` once everything runs. `metrics`: by process name; `pids`: likewise."""

    api: str
    organization_id: str
    application_id: str
    application_secret: str
    subscription_id: str
    subscription_secret: str
    receiver: str
    master_api_key: str
    kafka: str
    database_url: str
    metrics: dict[str, str]
    pids: dict[str, list[int]]
    profile: str
    data_dir: str


class HooklineUp:
    """An async context manager: started and ready inside, stopped afterwards with nothing left running.

    `arguments`: more options of `hookline up`. `data_dir` None: a fresh one, removed when all went well. `environ`:
    settings, `HOOKLINE_…`. `command`: what to run instead of `hookline up --json`. A failure inside carries the ends of
    the log files as a note.
    """

    report: UpReport

    def __init__(
        self,
        *arguments: str,
        data_dir: Path | None = None,
        environ: Mapping[str, str] | None = None,
        command: Sequence[str] = UP,
    ) -> None:
        self._owns_data_dir = data_dir is None
        self.data_dir = data_dir or Path(tempfile.mkdtemp(prefix="hookline-test-up-"))
        self._command = [*command, "--data-dir", str(self.data_dir), *arguments]
        self._environ = select_environ(os.environ) | dict(environ or {})
        self._up: asyncio.subprocess.Process | None = None
        self._seen: set[psutil.Process] = set()  # psutil tells a process from a later one with the same pid
        self._killed_pids: dict[tuple[str, int], int] = {}

    async def __aenter__(self) -> "HooklineUp":
        try:
            await self.start()
        except BaseException as error:
            error.add_note(self.describe_logs())
            await self._kill_left()
            raise
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if error is not None:
            error.add_note(self.describe_logs())
        await self.stop()
        if error is None and self._owns_data_dir:
            shutil.rmtree(self.data_dir)

    async def start(self) -> None:
        """Start, and wait for the report. Raises AssertionError when the command ends without one."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        with (self.data_dir / "up.stderr.log").open("ab") as log:
            self._up = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                cwd=ROOT,
                env=self._environ,
                start_new_session=True,  # Ctrl-C at the desk is for pytest, which then stops us in order
            )
        assert self._up.stdout is not None
        async with asyncio.timeout(START_TIMEOUT_S):
            line = await self._up.stdout.readline()
            assert line, f"{' '.join(self._command)} ended with code {await self._up.wait()} and without a report"
        self.report = msgspec.json.decode(line, type=UpReport)
        self._look_around()

    @property
    def up_pid(self) -> int:
        """The pid of `hookline up` itself."""
        assert self._up is not None, "not started"
        return self._up.pid

    def pid(self, name: str, n: int = 1) -> int:
        """The pid of the n-th process of a name, as `hookline up` wrote it down last."""
        return int((self.data_dir / "run" / f"{name}.{n}.pid").read_text())

    def kill(self, name: str, n: int = 1) -> int:
        """SIGKILL; the pid it had."""
        pid = self.send(name, signal.SIGKILL, n)
        self._killed_pids[name, n] = pid
        return pid

    def send(self, name: str, number: signal.Signals, n: int = 1) -> int:
        """Any signal, SIGSTOP for example; the pid. Raises LookupError when that is no process of ours, or no more."""
        self._look_around()
        pid = self.pid(name, n)
        ours = [process for process in self._left() if process.pid == pid]
        if not ours:
            raise LookupError(f"{name}.{n} has pid {pid}, which is no running process of this `hookline up`")
        ours[0].send_signal(number)
        return pid

    async def wait_restarted(self, name: str, n: int = 1, *, timeout_s: float = 60.0) -> int:
        """Wait until another process runs in place of the one `kill` ended; its pid. Ready it may not be yet."""
        killed_pid = self._killed_pids[name, n]

        def find_successor() -> int:
            self._look_around()
            try:
                pid = self.pid(name, n)
            except (FileNotFoundError, ValueError) as error:  # it is being written
                raise AssertionError(str(error)) from error
            assert pid != killed_pid, f"{name}.{n} still is the killed one, {pid}"
            assert any(process.pid == pid for process in self._left()), f"{name}.{n} has pid {pid}, which does not run"
            return pid

        return await eventually(find_successor, timeout_s=timeout_s)

    async def stop(self, *, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """SIGTERM, and wait; the exit code. Raises AssertionError, and kills, when anything is left running.

        May be called again, or after `hookline up` was killed: its processes have to be gone then, too.
        """
        assert self._up is not None, "not started"
        self._look_around()
        if self._up.returncode is None:
            self._up.terminate()
        try:
            await eventually(lambda: not self._left(), timeout_s=timeout_s)
        except AssertionError:
            left = "; ".join(describe(process) for process in self._left())
            await self._kill_left()
            raise AssertionError(f"still running {timeout_s:g} s after the stop: {left}") from None
        return await self._up.wait()

    def log_files(self) -> list[Path]:
        """The logs of all processes. Kafka's segments end in `.log` as well, but lie deeper."""
        return sorted([*self.data_dir.glob("*.log"), *self.data_dir.glob("*/*.log")])

    def describe_logs(self) -> str:
        """Where the logs are, and how they end."""
        tails = [f"--- {path}\n{tail(path)}" for path in self.log_files()]
        return "\n".join([f"logs of hookline up, data in {self.data_dir}:", *tails])

    def _look_around(self) -> None:
        """Remember every process below ours: once its parent has died it is found no other way."""
        assert self._up is not None, "not started"
        if self._up.returncode is not None:
            return  # its pid may be another process' by now
        try:
            up = psutil.Process(self._up.pid)
            self._seen |= {up, *up.children(recursive=True)}
        except psutil.NoSuchProcess:
            return

    def _left(self) -> list[psutil.Process]:
        return [process for process in self._seen if is_running(process)]

    async def _kill_left(self) -> None:
        if self._up is None:
            return
        self._look_around()
        for process in self._left():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        await self._up.wait()


def select_environ(environ: Mapping[str, str]) -> dict[str, str]:
    """Choose the environment of a process: no settings of the desk's, but where downloaded parts are kept."""
    return {
        name: value
        for name, value in environ.items()
        if not name.startswith("HOOKLINE_") or name.startswith(KEPT_SECTION)
    } | {"XDG_STATE_HOME": STATE_HOME}


def is_running(process: psutil.Process) -> bool:
    """Does a process run? A zombie does not: it holds nothing but its entry, until its parent looks."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def describe(process: psutil.Process) -> str:
    """Pid and command line."""
    try:
        return f"{process.pid} {' '.join(process.cmdline())[:200]}"
    except psutil.Error:
        return str(process.pid)


def tail(path: Path, lines: int = TAIL_LINES) -> str:
    """The last lines of a file, which may be long: only its last 64 KiB are looked at."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 64 * 1024))
        return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])
