"""Tenants share what may wait for Kafka's acknowledgement, and what bodies take of the memory."""

import asyncio

import pytest

from pipeline.gateway.shared_room import SharedRoom

MANY_BYTES = 1_000_000


def fill(room: SharedRoom, tenant: str, *amounts: int) -> int:
    """How many things a tenant may have."""
    things = 0
    while room.has_room(tenant):
        room.take(tenant, *amounts)
        things += 1
    return things


def test_a_tenant_leaves_room_to_others() -> None:
    """One alone has half of all, and the next one half of the rest; what comes back is free again."""
    room = SharedRoom(12)
    first = [fill(room, tenant, 1) for tenant in "abc"]
    for _ in range(6):
        room.give_back("a", 1)

    assert [6, 3, 2] == first
    assert [4, 0] == [fill(room, tenant, 1) for tenant in "ab"]


def test_each_measure_has_its_share() -> None:
    """Large events of one tenant leave room to others long before their number does."""
    room = SharedRoom(1000, MANY_BYTES)

    assert 5 == fill(room, "a", 1, 100_000)
    assert room.has_room("b")


async def test_who_waits_goes_on_in_order() -> None:
    """Waiting ends with room, the first one first; one that gave up is passed over, and others do not wait for it."""
    room = SharedRoom(2)
    room.take("a", 1)
    done: list[int] = []

    async def wait(number: int, timeout_s: float) -> None:
        await room.take_in_turn("a", 1, timeout_s=timeout_s)
        done.append(number)

    with pytest.raises(TimeoutError):
        await wait(0, 0.001)
    waiting = [asyncio.create_task(wait(number, 60)) for number in (1, 2, 3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.sleep(0)
    room.give_back("a", 1)
    await waiting[1]
    room.give_back("a", 1)
    await waiting[2]

    assert [2, 3] == done


async def test_room_for_several_lets_several_go_on() -> None:
    """The end of a large one is room for all that wait, of its tenant and of others, and not for one by one."""
    room = SharedRoom(10)
    room.take("a", 9)
    waiting = [asyncio.create_task(room.take_in_turn(tenant, 1, timeout_s=60)) for tenant in "aaabb"]
    await asyncio.sleep(0)
    room.give_back("a", 9)
    async with asyncio.timeout(60):
        await asyncio.gather(*waiting)

    assert 3 == fill(room, "c", 1)


async def test_a_turn_that_is_not_used_is_anothers() -> None:
    """One that is cancelled as it may go on lets the next one go on."""
    room = SharedRoom(2)
    room.take("a", 1)
    first, second = (asyncio.create_task(room.take_in_turn("a", 1, timeout_s=60)) for _ in range(2))
    await asyncio.sleep(0)
    room.give_back("a", 1)
    first.cancel()
    async with asyncio.timeout(60):
        await second

    assert first.cancelled()
    assert not room.has_room("a")
