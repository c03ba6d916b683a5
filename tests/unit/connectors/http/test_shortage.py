import errno
import os
import socket
from typing import Any

import pytest
from prometheus_client import generate_latest
from structlog.testing import capture_logs

from connectors.http.client.client import HttpClient
from connectors.http.client.exchange import ErrorClass, Failure
from connectors.http.client.shortage import OWN_LOOKUPS, ShortageError, find_shortage
from connectors.http.client.tls import TlsContexts
from connectors.http.shortages import FORGET_S, HEALTH_S, LOG_INTERVAL_S, Shortages
from pipeline.config import DeliverConfig
from pipeline.metrics import Metrics
from tests.support.outbound import make_delivery, make_request
from tests.unit.connectors.http.sink_alone import ScriptedClient, SinkAlone

OURS = [
    (OSError(errno.EMFILE, "x"), "files"),
    (OSError(errno.ENFILE, "x"), "files"),
    (OSError(errno.ENOMEM, "x"), "memory"),
    (OSError(errno.ENOBUFS, "x"), "buffers"),
    (OSError(errno.EADDRNOTAVAIL, "x"), "ports"),
    (OSError(errno.ENOSPC, "x"), "disk"),
    (OSError(errno.ENETDOWN, "x"), "network"),
    (MemoryError(), "memory"),
    (RuntimeError("can't start new thread"), "threads"),
    (socket.gaierror(socket.EAI_MEMORY, "x"), "memory"),
    (ShortageError("look-ups"), "look-ups"),
]
THEIRS = [
    OSError(errno.ECONNREFUSED, "x"),
    OSError(errno.EHOSTUNREACH, "x"),
    OSError(errno.ETIMEDOUT, "x"),
    socket.gaierror(socket.EAI_NONAME, "x"),
    socket.gaierror(socket.EAI_AGAIN, "x"),
    RuntimeError("x"),
    ValueError("x"),
]


@pytest.mark.parametrize(("error", "kind"), OURS, ids=repr)
def test_what_we_lack_is_told_from_what_they_do(error: Exception, kind: str) -> None:
    """The error's number decides, not its text or place."""
    assert kind == find_shortage(error)


@pytest.mark.parametrize("error", THEIRS, ids=repr)
def test_what_they_do_is_no_shortage(error: Exception) -> None:
    """Deliveries would otherwise wait without end."""
    assert find_shortage(error) is None


@pytest.mark.parametrize(("error", "kind"), OURS, ids=repr)
@pytest.mark.parametrize("step", ["resolve", "connect", "tls", "send"])
async def test_a_delivery_waits_for_what_we_lack(error: Exception, kind: str, step: str) -> None:
    """The delivery is parked at any step, without an attempt, and nothing is said about the endpoint."""

    def fail(*_: object) -> Any:
        raise error

    async def connect(_: str, __: int) -> Any:
        return fail() if step == "connect" else NoSocket()

    client = HttpClient(
        DeliverConfig(),
        lookup=fail if step == "resolve" else lambda _: ["1.1.1.1"],
        connect=connect,
        tls=TlsContexts(build=fail),
    )
    alone = SinkAlone(client=ScriptedClient(error) if step == "send" else client)
    with capture_logs() as logs:
        await alone.put()

    (parked,) = alone.log.retries()
    assert ["retries.1s"] == alone.log.names()
    assert make_delivery() == parked
    assert 1 == alone.metrics.registry.get_sample_value("hookline_local_shortages_total", {"kind": kind})
    assert ["local_shortage"] == [entry["event"] for entry in logs]


async def test_no_source_address_is_not_ours() -> None:
    """A host without IPv6 answers as one without free ports: an endpoint with only such an address must not wait."""

    async def connect(_: str, __: int) -> socket.socket:
        raise OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))

    client = HttpClient(DeliverConfig(), lookup=lambda _: ["2606:4700::1"], connect=connect)
    result = await client.send(make_request("https://example.com/"))

    assert isinstance(result, Failure)
    assert result.error_class in (ErrorClass.CONNECTION, ErrorClass.LOCAL)


def test_shortages_are_said_without_flooding() -> None:
    """One line in ten seconds with the count; health names it while it lasts; waits grow and begin anew."""
    now_s = 1000.0
    shortages = Shortages(Metrics("deliver"), clock_s=lambda: now_s)
    with capture_logs() as logs:
        first_us = shortages.meet("files", "a")
        for _ in range(99):
            shortages.meet("files", "a")
        now_s += LOG_INTERVAL_S
        later_us = shortages.meet("files", "a")

    assert [1, 100] == [entry["deliveries"] for entry in logs]
    assert (1_000_000, 5_000_000) == (first_us, later_us)
    assert "files" in (shortages.check() or "")
    now_s += HEALTH_S
    assert shortages.check() is None
    now_s += FORGET_S
    assert 1_000_000 == shortages.meet("files", "a")


class NoSocket:
    """Stands for a connected socket until TLS begins."""

    def close(self) -> None: ...


def test_an_applications_own_share_is_no_shortage_of_the_process() -> None:
    """Deliveries of that application alone wait, longer and longer; health, metric and log say nothing."""
    now_s = 1000.0
    metrics = Metrics("deliver")
    shortages = Shortages(metrics, clock_s=lambda: now_s)
    with capture_logs() as logs:
        waits_us = [shortages.meet(OWN_LOOKUPS, "a")]
        now_s += 60
        waits_us += [shortages.meet(OWN_LOOKUPS, "a"), shortages.meet(OWN_LOOKUPS, "b")]
        now_s += FORGET_S + 1
        waits_us.append(shortages.meet(OWN_LOOKUPS, "a"))

    assert [1_000_000, 30_000_000, 1_000_000, 1_000_000] == waits_us
    assert shortages.check() is None
    assert [] == logs
    assert "hookline_local_shortages_total{" not in generate_latest(metrics.registry).decode()
