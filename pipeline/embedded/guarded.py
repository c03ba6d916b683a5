"""A program under guard: it ends with the process that started it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pipeline.embedded.errors import EmbeddedError

GUARD = Path(__file__).with_name("guard.py")
LOG_MAX_BYTES = 8 * 1024 * 1024  # a log that is longer when its program starts is put aside
LOG_TAIL_LINES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Guarded:
    """A running program, and the guard between it and us."""

    name: str
    guard: "subprocess.Popen[bytes]"
    pid: int
    log_file: Path

    def is_alive(self) -> bool:
        return self.guard.poll() is None

    def stop(self, timeout_s: float) -> None:
        """Let go: the guard stops the program; killed after `timeout_s`. Returns when both are gone."""
        assert self.guard.stdin is not None  # noqa: S101 - it was started with a pipe
        self.guard.stdin.close()
        try:
            self.guard.wait(timeout_s)
        except subprocess.TimeoutExpired:
            # the program, not its guard: a dead guard would leave it behind
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            self.guard.wait()

    def wait_until(self, is_ready: Callable[[], bool], *, timeout_s: float) -> None:
        """Wait for the program to answer. Raises `EmbeddedError` with the end of its log when it does not."""
        deadline_s = time.monotonic() + timeout_s
        try:
            while not is_ready():
                if not self.is_alive():
                    raise EmbeddedError(f"{self.name} ended while starting. {self.read_tail()}")
                if time.monotonic() > deadline_s:
                    raise EmbeddedError(f"{self.name} did not answer within {timeout_s:.0f} s. {self.read_tail()}")
                time.sleep(0.03)
        except BaseException:  # Ctrl-C too: no other code knows of the program yet
            self.stop(5.0)
            raise

    def read_tail(self) -> str:
        """The end of the log, for people."""
        lines = self.log_file.read_text(errors="replace").splitlines() if self.log_file.exists() else []
        return f"Its log {self.log_file} ends with:\n" + "\n".join(lines[-LOG_TAIL_LINES:])


def start_guarded(
    name: str,
    command: Sequence[str],
    *,
    stop_signal: signal.Signals,
    grace_s: float,
    log_file: Path,
    lock: int,
    user: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> Guarded:
    """Start `command` under guard in a new session, its output appended to `log_file`.

    It inherits the file descriptor `lock`, so that the lock lasts exactly as long as the program. `environment` None:
    a clean one.
    """
    if log_file.exists() and log_file.stat().st_size > LOG_MAX_BYTES:
        log_file.replace(log_file.with_name(log_file.name + ".1"))
    with log_file.open("ab") as log:
        guard = subprocess.Popen(  # noqa: S603 - our own script and the program the caller named
            [sys.executable, "-I", "-S", str(GUARD), str(int(stop_signal)), str(grace_s), user or "-", *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
            pass_fds=(lock,),
            cwd="/",
            env=clean_environment() if environment is None else environment,
        )
    assert guard.stdout is not None  # noqa: S101 - asked for above
    line = guard.stdout.readline()
    guard.stdout.close()
    guarded = Guarded(name=name, guard=guard, pid=int(line or 0), log_file=log_file)
    if not line:
        guarded.stop(5.0)
        raise EmbeddedError(f"{name} cannot be started. {guarded.read_tail()}")
    return guarded


def clean_environment() -> dict[str, str]:
    """The environment of a service: without our secrets and without the user's JAVA_TOOL_OPTIONS and PG*."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
