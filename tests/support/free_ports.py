"""Ports for programs that need one before they start, such as a gateway that is started again at its address."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from pipeline.embedded.ports import choose_port


def find_free_ports(count: int) -> list[int]:
    """Find `count` different ports on loopback that are free now, and that the kernel gives to no one by itself."""
    found: list[int] = []
    while len(found) < count:
        port = choose_port(None, "a test")
        if port not in found:
            found.append(port)
    return found


def find_free_port() -> int:
    """Find a port on loopback that is free now."""
    (port,) = find_free_ports(1)
    return port


@contextmanager
def hold_closed_ports(count: int) -> Iterator[list[int]]:
    """Hold ports of 127.0.0.1 that refuse connections: bound, so that no one else listens there meanwhile."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        yield [each.getsockname()[1] for each in sockets]
