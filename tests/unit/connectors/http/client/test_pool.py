import asyncio
import time

import pytest

from connectors.http.client.connection import IDLE_MAX_S, Connection
from connectors.http.client.origin import Origin
from connectors.http.client.pool import AGE_MAX_S, Pool
from pipeline.endpoint_tls import TlsIdentity

A, B = Origin(True, "a.example.com", 443), Origin(True, "b.example.com", 443)


class Wire(asyncio.Transport):
    """A transport that leads nowhere."""

    def __init__(self) -> None:
        super().__init__()
        self.is_aborted = False

    def abort(self) -> None:
        self.is_aborted = True


class Clock:
    """The time, as it is told."""

    def __init__(self) -> None:
        self.now_s = time.monotonic()

    def __call__(self) -> float:
        return self.now_s


def open_connection() -> tuple[Connection, Wire]:
    wire = Wire()
    connection = Connection(head_max_bytes=1024, body_max_bytes=1024)
    connection.connection_made(wire)
    return connection, wire


def test_the_connection_used_last_comes_first() -> None:
    """The last used one is the likeliest to be open; each is given to one at a time, and only to its own origin."""
    pool = Pool(idle_max=10)
    (first, _), (second, _) = open_connection(), open_connection()
    pool.put(A, first)
    pool.put(A, second)

    assert pool.take(B) is None
    assert second is pool.take(A)
    assert first is pool.take(A)
    assert pool.take(A) is None
    assert 0 == len(pool)


def test_nobody_gets_a_connection_with_another_identity() -> None:
    """A client certificate speaks for the subscription it belongs to."""
    pool = Pool(idle_max=10)
    connection, _ = open_connection()
    own = Origin(True, "a.example.com", 443, TlsIdentity(certificate_pem="x", key_pem="y"))
    pool.put(own, connection)

    assert pool.take(A) is None
    assert pool.take(Origin(True, "a.example.com", 443, TlsIdentity(ca_pem="x"))) is None
    assert connection is pool.take(Origin(True, "a.example.com", 443, TlsIdentity(certificate_pem="x", key_pem="y")))


@pytest.mark.parametrize("idle_max", [0, 1, 3])
def test_there_is_a_bound_over_all_origins(idle_max: int) -> None:
    """Connections beyond the bound are closed, those of the origin used longest ago first."""
    pool = Pool(idle_max=idle_max)
    wires = []
    for number in range(5):
        connection, wire = open_connection()
        wires.append(wire)
        pool.put(Origin(True, f"{number}.example.com", 443), connection)

    assert idle_max == len(pool)
    assert [number < 5 - idle_max for number in range(5)] == [wire.is_aborted for wire in wires]


def test_what_cannot_be_used_again_is_closed() -> None:
    """Put back or swept: closed ones, idle ones, old ones."""
    clock = Clock()
    pool = Pool(idle_max=10, clock=clock)
    closed, _ = open_connection()
    closed.close()
    pool.put(A, closed)
    assert 0 == len(pool)

    idle, idle_wire = open_connection()
    pool.put(A, idle)
    clock.now_s += IDLE_MAX_S
    assert pool.take(A) is None
    assert idle_wire.is_aborted

    swept, swept_wire = open_connection()
    pool.put(A, swept)
    pool.sweep()
    assert 1 == len(pool)
    clock.now_s += IDLE_MAX_S
    pool.sweep()
    assert 0 == len(pool)
    assert swept_wire.is_aborted

    old, old_wire = open_connection()
    clock.now_s = old.made_at_s + AGE_MAX_S + 1
    pool.put(A, old)
    assert 0 == len(pool)
    assert old_wire.is_aborted


def test_close() -> None:
    """All of them are closed."""
    pool = Pool(idle_max=10)
    wires = []
    for origin in (A, A, B):
        connection, wire = open_connection()
        wires.append(wire)
        pool.put(origin, connection)
    pool.close()

    assert 0 == len(pool)
    assert all(wire.is_aborted for wire in wires)
