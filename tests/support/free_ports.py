"""Ports for programs that need one before they start, such as a gateway that is started again at its address."""

import socket


def find_free_ports(count: int) -> list[int]:
    """Find `count` different ports on loopback that are free now."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def find_free_port() -> int:
    """Find a port on loopback that is free now."""
    (port,) = find_free_ports(1)
    return port
