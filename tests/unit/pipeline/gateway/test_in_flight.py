"""Tenants share what may wait for Kafka's acknowledgement."""

import asyncio

import pytest

from pipeline.gateway.in_flight import InFlight

MANY_BYTES = 1_000_000


def fill(in_flight: InFlight, tenant: str, payload_bytes: int = 0) -> int:
    """How many events a tenant may have."""
    events = 0
    while in_flight.has_room(tenant):
        in_flight.take(tenant, payload_bytes)
        events += 1
    return events


def test_a_tenant_leaves_room_to_others() -> None:
    """One alone has half of all, and the next one half of the rest; what comes back is free again."""
    in_flight = InFlight(events_max=12, bytes_max=MANY_BYTES)
    first = [fill(in_flight, tenant) for tenant in "abc"]
    for _ in range(6):
        in_flight.give_back("a", 0)

    assert [6, 3, 2] == first
    assert [4, 0] == [fill(in_flight, tenant) for tenant in "ab"]


def test_bytes_are_shared_as_events_are() -> None:
    """Large events of one tenant leave room to others long before their number does."""
    in_flight = InFlight(events_max=1000, bytes_max=MANY_BYTES)

    assert 5 == fill(in_flight, "a", 100_000)
    assert in_flight.has_room("b")


async def test_who_waits_goes_on_in_order() -> None:
    """Waiting ends with room, the first one first; one that gave up is passed over, and others do not wait for it."""
    in_flight = InFlight(events_max=2, bytes_max=MANY_BYTES)
    in_flight.take("a", 0)
    done: list[int] = []

    async def wait(number: int, timeout_s: float) -> None:
        await in_flight.wait_for_room("a", timeout_s)
        in_flight.take("a", 0)
        done.append(number)

    with pytest.raises(TimeoutError):
        await wait(0, 0.001)
    waiting = [asyncio.create_task(wait(number, 60)) for number in (1, 2, 3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.sleep(0)
    in_flight.give_back("a", 0)
    await waiting[1]
    in_flight.give_back("a", 0)
    await waiting[2]

    assert [2, 3] == done
