"""Ports on loopback for services that cannot be given an open socket."""

import secrets
import socket
from contextlib import suppress
from pathlib import Path

import msgspec

from pipeline.embedded.errors import EmbeddedError

LOOPBACK = "127.0.0.1"
# Below the range that the kernel gives to outgoing connections (32768 on Linux, 49152 elsewhere): one of those could
# otherwise take the port in the seconds between our choice and the service's bind.
FIRST_PORT = 20_000
LAST_PORT = 32_000
TRIES_MAX = 100


def choose_port(port: int | None, name: str) -> int:
    """The given port if it is free, or any free one. Raises `EmbeddedError`."""
    if port is not None:
        problem = _find_problem(port)
        if problem is not None:
            raise EmbeddedError(describe_problem(port, name, problem))
        return port
    for _ in range(TRIES_MAX):
        candidate = FIRST_PORT + secrets.randbelow(LAST_PORT - FIRST_PORT)
        if _is_free(candidate):
            return candidate
    raise EmbeddedError(f"no free port for {name} between {FIRST_PORT} and {LAST_PORT}: give one")


def describe_problem(port: int, name: str, problem: Exception) -> str:
    """Why a port that was asked for cannot be used, and what to do."""
    if isinstance(problem, PermissionError):
        return f"port {port} for {name} may not be used by this user: give one from 1024 on"
    return f"port {port} for {name} is taken: give another one, or stop the program that listens on it"


class FreePorts:
    """Hands out free ports: none twice, even if no process listens on it yet, and to a name the same one as before.

    `file`: the ports of earlier starts by name; None: none are kept.
    """

    __slots__ = ("_file", "_kept", "_taken")

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._kept = _read_kept(file) if file is not None else {}
        self._taken: set[int] = set()

    def take(self, name: str, port: int | None = None, *, preferred: int | None = None) -> int:
        """The given port, if it is free. Without one: that of earlier, `preferred`, or any. Raises `EmbeddedError`."""
        if port is not None:
            chosen = choose_port(port, name)
        else:
            wishes = (wish for wish in (self._kept.get(name), preferred) if wish is not None)
            chosen = next((wish for wish in wishes if self._may_take(wish)), 0) or self._choose_any(name)
        self._taken.add(chosen)
        self._keep(name, chosen)
        return chosen

    def find_former(self, name: str) -> int | None:
        """The port that this name had at an earlier time; None: none is known."""
        return self._kept.get(name)

    def _choose_any(self, name: str) -> int:
        chosen = choose_port(None, name)
        while chosen in self._taken or chosen in self._kept.values():
            chosen = choose_port(None, name)
        return chosen

    def _may_take(self, port: int) -> bool:
        return port not in self._taken and _is_free(port)

    def _keep(self, name: str, port: int) -> None:
        if self._kept.get(name) == port:
            return
        self._kept[name] = port
        if self._file is not None:
            with suppress(OSError):  # the next start has other ports
                self._file.write_bytes(msgspec.json.format(msgspec.json.encode(self._kept)) + b"\n")


def _read_kept(file: Path) -> dict[str, int]:
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, int])
    except (OSError, msgspec.DecodeError):  # a first start, or a file that was cut off
        return {}


def _is_free(port: int) -> bool:
    return _find_problem(port) is None


def _find_problem(port: int) -> Exception | None:
    with socket.socket() as probe:
        # as the services do: a connection closed a minute ago does not count
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except (OSError, OverflowError) as error:
            return error
        return None
