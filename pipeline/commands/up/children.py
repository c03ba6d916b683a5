"""Our own processes below `hookline up`, `python -m pipeline.cli NAME`: one of them, and how each is started."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from pipeline.commands.up.data_directory import DataDirectory
from pipeline.embedded.ports import LOOPBACK, FreePorts

LISTEN = "listen"
LOG_MAX_BYTES = 8 * 1024 * 1024  # a log that is longer when its process starts is put aside
TAIL_BYTES = 16 * 1024
TAIL_LINES = 8
EXIT_REFUSED = 2  # a process that cannot start as configured
EXIT_STOPPED = 0

ShowLine = Callable[[str], None]  # takes one line of standard output, without its end


class Child:
    """A process that may be started again and again. `inherited`: file descriptors it gets."""

    def __init__(
        self,
        name: str,
        number: int,
        *,
        environ: Mapping[str, str],
        run_dir: Path,
        log_dir: Path,
        inherited: Sequence[int],
        arguments: Sequence[str] = (),
        command: Sequence[str] = (sys.executable, "-m", "pipeline.cli"),
        show_line: ShowLine | None = None,
    ) -> None:
        self.name = name
        self.number = number
        self.label = f"{name}.{number}"
        self.log_file = log_dir / f"{self.label}.log"
        self._command = (*command, name, *arguments)
        self._environ = environ
        self._run_dir = run_dir
        self._inherited = tuple(inherited)
        self._show_line = show_line
        self._relaying: asyncio.Task[None] | None = None
        self._process: Process | None = None

    @property
    def pid(self) -> int:
        return self._running().pid

    async def start(self) -> None:
        """Start the process; it is not ready yet."""
        if self._process is not None:
            self._announcement_file().unlink(missing_ok=True)
        if self.log_file.exists() and self.log_file.stat().st_size > LOG_MAX_BYTES:
            self.log_file.replace(self.log_file.with_name(self.log_file.name + ".1"))
        with self._open_log() as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=DEVNULL,
                stdout=PIPE if self._show_line else log,
                stderr=log,
                env=self._environ,
                pass_fds=self._inherited,
                start_new_session=True,  # Ctrl-C in the terminal is for us, who stop it in order
            )
        if self._show_line is not None:
            self._relaying = asyncio.create_task(self._show_lines(self._show_line))

    async def wait(self) -> int:
        """Wait for its end; the exit code, or the negative number of the signal it died of.

        Raises what showing its lines raised: unread, they would fill the pipe and the process would stand still.
        """
        if self._relaying is not None:
            await asyncio.shield(self._relaying)  # ends with its output; `stop` wants the last lines, too
        return await self._running().wait()

    async def stop(self, timeout_s: float) -> bool:
        """SIGTERM, and SIGKILL if it does not help in time; did it end in order?"""
        process = self._process
        if process is None:
            return True
        is_orderly = True
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
                process.send_signal(signal.SIGCONT)  # one that is frozen cannot end
            try:
                async with asyncio.timeout(timeout_s):
                    await process.wait()
            except TimeoutError:
                is_orderly = False
                self.kill()
                await process.wait()
        if self._relaying is not None:
            with contextlib.suppress(Exception):  # `wait` has raised it
                await self._relaying
        self._announcement_file().unlink(missing_ok=True)
        return is_orderly

    def kill(self) -> None:
        """SIGKILL, without waiting."""
        with contextlib.suppress(ProcessLookupError):
            if self._process is not None and self._process.returncode is None:
                self._process.kill()

    def read_announcement(self) -> dict[str, str] | None:
        """The addresses that it announced; None before it is ready."""
        try:
            return {name: str(value) for name, value in json.loads(self._announcement_file().read_bytes()).items()}
        except FileNotFoundError:
            return None

    def read_refusal(self) -> str:
        """Read why the process refused to start, from the last lines of its log."""
        lines = self._tail()
        for line in reversed(lines):
            with contextlib.suppress(ValueError):
                entry = json.loads(line)
                if isinstance(entry, dict) and entry.get("event") == "cannot_start":
                    return str(entry.get("reason"))
            if line.startswith("hookline: "):
                return line.removeprefix("hookline: ")
        return self.describe_log()

    def describe_log(self) -> str:
        """The place of its log, and the log's last lines."""
        return "\n".join([f"its log {self.log_file} ends with:", *self._tail()[-TAIL_LINES:]])

    def _tail(self) -> list[str]:
        with self.log_file.open("rb") as file:
            file.seek(max(0, self.log_file.stat().st_size - TAIL_BYTES))
            return file.read().decode(errors="replace").splitlines()

    def _open_log(self) -> BinaryIO:
        return os.fdopen(os.open(self.log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "wb", buffering=0)

    def _announcement_file(self) -> Path:
        return self._run_dir / f"{self.name}.{self.pid}.json"

    def _running(self) -> Process:
        assert self._process is not None, f"{self.label} was not started"  # noqa: S101 - the keeper's order
        return self._process

    async def _show_lines(self, show_line: ShowLine) -> None:
        stdout = self._running().stdout
        assert stdout is not None  # noqa: S101 - a pipe was asked for
        with self._open_log() as log:
            async for line in stdout:
                with contextlib.suppress(OSError):  # a full disk: its receiver goes on
                    log.write(line)
                show_line(line.decode(errors="replace").rstrip("\n"))


def build_environ(
    given: Mapping[str, str], ours: Mapping[str, str], *, data: DataDirectory, watched_fd: int, start_fd: int
) -> dict[str, str]:
    """The environment of our processes: that of the installation, and above that what only we can know."""
    surroundings = {
        "HOOKLINE_PROCESS_PARENT_WATCH_FD": str(watched_fd),
        "HOOKLINE_PROCESS_START_FD": str(start_fd),
        "HOOKLINE_PROCESS_RUN_DIR": str(data.run),
        # the modules that we run, whatever else is called `pipeline` in the directory we were started in
        "PYTHONSAFEPATH": "1",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    return add_defaults(given, ours) | surroundings


def add_defaults(given: Mapping[str, str], ours: Mapping[str, str]) -> dict[str, str]:
    """Put together what the user set, defaults of `hookline up` for the rest, and `ours` above both."""
    defaults = {
        # one JSON object a line: a traceback is one, too, and we can read why a process refuses to start
        "HOOKLINE_PROCESS_LOG_FORMAT": "json",
        # endpoints on this machine are what one tries it with
        "HOOKLINE_DELIVER_ALLOW_PRIVATE_ADDRESSES": "true",
        # one gateway, on a server that is ours alone
        "HOOKLINE_DATABASE_POOL_MIN_SIZE": "1",
        # no balancer in front: a stop does not wait for one
        "HOOKLINE_GATEWAY_DRAIN_S": "0",
    }
    return defaults | dict(given) | dict(ours)


class Children:
    """Makes our processes. Their ports are chosen here, so that one that is started again keeps its addresses."""

    def __init__(
        self,
        environ: Mapping[str, str],
        *,
        data: DataDirectory,
        ports: FreePorts,
        gateway_port: int,
        receiver_port: int,
        inherited: Sequence[int],
        show_line: ShowLine | None,
    ) -> None:
        self._environ = environ
        self._data = data
        self._ports = ports
        self._gateway_port = gateway_port
        self._receiver_port = receiver_port
        self._inherited = inherited
        self._show_line = show_line

    def make(self, name: str, number: int) -> Child:
        """The n-th process of a name, not started yet."""
        own = {"HOOKLINE_PROCESS_METRICS_PORT": str(self._ports.take(f"metrics of {name}.{number}"))}
        if name == "gateway":
            port = self._gateway_port if number == 1 else self._ports.take(f"{name}.{number}")
            own["HOOKLINE_GATEWAY_PORT"] = str(port)
        return Child(
            name,
            number,
            arguments=self._list_listen_arguments() if name == LISTEN else (),
            environ={**self._environ, **own},
            run_dir=self._data.run,
            log_dir=self._data.logs,
            inherited=self._inherited,
            show_line=self._show_line if name == LISTEN else None,
        )

    def _list_listen_arguments(self) -> tuple[str, ...]:
        secret_file = self._data.receiver_secret_file
        secret_file.touch(mode=0o600)  # filled when the demo is there, and read again then
        return ("--host", LOOPBACK, "--port", str(self._receiver_port), "--secret-file", str(secret_file))
