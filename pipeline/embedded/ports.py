"""Ports on loopback for services that cannot be given an open socket."""

import secrets
import socket

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
        if not _is_free(port):
            raise EmbeddedError(
                f"port {port} for {name} is taken: give another one, or stop the program that listens on it"
            )
        return port
    for _ in range(TRIES_MAX):
        candidate = FIRST_PORT + secrets.randbelow(LAST_PORT - FIRST_PORT)
        if _is_free(candidate):
            return candidate
    raise EmbeddedError(f"no free port for {name} between {FIRST_PORT} and {LAST_PORT}: give one")


class FreePorts:
    """Never hands out a port twice, though no process listens on it yet."""

    __slots__ = ("_taken",)

    def __init__(self) -> None:
        self._taken: set[int] = set()

    def take(self, name: str, port: int | None = None) -> int:
        """The given port, if it is free, or any free one. Raises `EmbeddedError`."""
        chosen = choose_port(port, name)
        while chosen in self._taken and port is None:
            chosen = choose_port(None, name)
        self._taken.add(chosen)
        return chosen


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # as the services do: a connection closed a minute ago does not count
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except (OSError, OverflowError):
            return False
        return True
