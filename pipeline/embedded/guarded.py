"""A program under guard: it ends with the process that started it."""

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.embedded.errors import EmbeddedError

GUARD = Path(__file__).with_name("guard.py")
LOOPBACK = "127.0.0.1"


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
        """Let go: the guard stops the program. Returns when both are gone."""
        assert self.guard.stdin is not None  # noqa: S101 - it was started with a pipe
        self.guard.stdin.close()
        try:
            self.guard.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.guard.kill()
            self.guard.wait()

    def wait_until(self, is_ready: Callable[[], bool], *, timeout_s: float) -> None:
        """Wait for the program to answer. Raises `EmbeddedError` with the end of its log when it does not."""
        deadline_s = time.monotonic() + timeout_s
        while not is_ready():
            if not self.is_alive():
                raise EmbeddedError(f"{self.name} ended while starting. {self._tail()}")
            if time.monotonic() > deadline_s:
                self.stop(5.0)
                raise EmbeddedError(f"{self.name} did not answer within {timeout_s:.0f} s. {self._tail()}")
            time.sleep(0.05)

    def _tail(self) -> str:
        lines = self.log_file.read_text(errors="replace").splitlines() if self.log_file.exists() else []
        return f"Its log {self.log_file} ends with:\n" + "\n".join(lines[-10:])


def start_guarded(
    name: str, command: Sequence[str], *, stop_signal: int, grace_s: float, log_file: Path, user: str | None = None
) -> Guarded:
    """Start `command` under guard, in a session of its own, its output appended to `log_file`."""
    guard = subprocess.Popen(  # noqa: S603 - our own script and the program the caller named
        [sys.executable, "-S", "-E", str(GUARD), str(stop_signal), str(grace_s), user or "-", str(log_file), *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        cwd="/",
    )
    assert guard.stdout is not None  # noqa: S101 - asked for above
    line = guard.stdout.readline()
    guard.stdout.close()
    if not line:
        guard.wait()
        raise EmbeddedError(f"cannot run {command[0]}")
    return Guarded(name=name, guard=guard, pid=int(line), log_file=log_file)


def choose_port(port: int | None, name: str) -> int:
    """The given port, checked to be free, or any free one on loopback."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port or 0))
        except OSError as error:
            raise EmbeddedError(f"port {port} for {name} is taken ({error.strerror}); give another one") from error
        return int(probe.getsockname()[1])


def make_directory(path: Path) -> Path:
    """Create a directory that only we can read. Raises `EmbeddedError` when it cannot be written."""
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        probe = path / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise EmbeddedError(f"cannot write to {path}: {error.strerror}; choose another --data-dir") from error
    return path


def check_version(path: Path, version: str, what: str) -> None:
    """Remember which version a directory belongs to; raises `EmbeddedError` when it belongs to another."""
    if path.exists():
        found = path.read_text().strip()
        if found != version:
            raise EmbeddedError(
                f"{path.parent} holds data of {what} {found}; this is {version}. "
                "Choose another --data-dir, or remove that directory if its data is not needed"
            )
    else:
        path.write_text(version + "\n")
