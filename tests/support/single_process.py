"""One process of Hookline by itself (`python -m pipeline.cli deliver`), for tests of that process alone."""

import asyncio
import json
import os
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.eventually import eventually
from tests.support.processes import ROOT, select_environ, tail
from tests.support.swallowed import find_swallowed

STOP_TIMEOUT_S = 60.0
START_TIMEOUT_S = 240.0  # two seconds of a core, which on a busy machine eight processes may want at once


class SingleProcess:
    """An async context manager: ready inside, stopped by SIGTERM afterwards (unless it was killed)."""

    def __init__(self, name: str, environ: Mapping[str, str], *, prefix: Sequence[str] = ()) -> None:
        """`environ`: settings, `HOOKLINE_…`. `prefix`: a command that runs the process, `prlimit …` for example."""
        self.name = name
        self._prefix = prefix
        self._run_dir = Path(tempfile.mkdtemp(prefix=f"hookline-test-{name}-"))
        self._environ = select_environ(os.environ) | dict(environ) | {"HOOKLINE_PROCESS_RUN_DIR": str(self._run_dir)}
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> "SingleProcess":
        await self.start()
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if error is not None:
            error.add_note(f"--- {self.log_path}\n{tail(self.log_path, 60)}")
        if self.is_running:
            code = await self.stop()
            assert error is not None or code == 0, f"{self.name} ended with {code}\n{tail(self.log_path, 60)}"
        if error is None:
            assert [] == find_swallowed(self.log())

    def set(self, name: str, value: str | None) -> None:
        """A setting for the next start, `PROCESS_LOG_LEVEL` for example; None: none."""
        if value is None:
            self._environ.pop(f"HOOKLINE_{name}", None)
        else:
            self._environ[f"HOOKLINE_{name}"] = value

    async def start(self, *, wait_ready: bool = True) -> None:
        with self.log_path.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._prefix,
                sys.executable,
                "-m",
                "pipeline.cli",
                self.name,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env=self._environ,
            )
        if wait_ready:
            await self.wait_ready()

    async def wait_ready(self) -> dict[str, str]:
        """Wait until it announced itself; its addresses."""

        def find() -> dict[str, str]:
            assert self.is_running, f"{self.name} ended\n{tail(self.log_path, 60)}"
            found: dict[str, str] = json.loads(self._announcement.read_text()) if self._announcement.exists() else {}
            return found

        return await eventually(find, timeout_s=START_TIMEOUT_S)

    async def stop(self, *, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """SIGTERM, and the exit code."""
        return await self.send(signal.SIGTERM, timeout_s=timeout_s)

    async def kill(self) -> None:
        """SIGKILL."""
        await self.send(signal.SIGKILL)

    async def send(self, number: signal.Signals, *, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """A signal that ends it; the exit code."""
        self.send_signal(number)
        return await self.wait(timeout_s=timeout_s)

    def send_signal(self, number: signal.Signals) -> None:
        """A signal, without waiting for what comes of it."""
        assert self._process is not None, "not started"
        self._process.send_signal(number)

    def freeze(self) -> None:
        """SIGSTOP: it does nothing any more, and its peers get no error."""
        self.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT: it goes on as if no time had passed."""
        self.send_signal(signal.SIGCONT)

    async def wait(self, *, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """The exit code of a process that ends by itself."""
        assert self._process is not None, "not started"
        async with asyncio.timeout(timeout_s):
            return await self._process.wait()

    @property
    def pid(self) -> int:
        assert self._process is not None, "not started"
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def log_path(self) -> Path:
        return self._run_dir / f"{self.name}.log"

    def log(self) -> str:
        """Read all that the process has logged."""
        return self.log_path.read_text()

    @property
    def _announcement(self) -> Path:
        return self._run_dir / f"{self.name}.{self.pid}.json"
