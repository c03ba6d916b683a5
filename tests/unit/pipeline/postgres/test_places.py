"""Tenants take turns at the connections of a pool."""

import asyncio
import contextlib
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.postgres.places import Places


class Crowd:
    """Tasks that hold places until they are told to leave. `held`: whose, in the order in which they came in."""

    def __init__(self, places_max: int) -> None:
        self.places = Places(places_max)
        self.held: list[str] = []
        self._leaving: list[asyncio.Event] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def come(self, *tenants: str) -> None:
        for tenant in tenants:
            self.tasks.append(asyncio.create_task(self._hold(tenant)))
        await self.settle()

    async def leave(self, count: int = 1) -> None:
        """Let those leave that came in first."""
        for _ in range(count):
            self._leaving.pop(0).set()
            await self.settle()

    async def settle(self) -> None:
        for _ in range(10):
            await asyncio.sleep(0)

    async def end(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def _hold(self, tenant: str) -> None:
        async with self.places.hold(tenant, 60):
            self.held.append(tenant)
            leaving = asyncio.Event()
            self._leaving.append(leaving)
            await leaving.wait()


async def test_one_tenant_leaves_a_quarter_to_others() -> None:
    """A tenant may have any number of requests: another one's gets a place at once."""
    crowd = Crowd(8)
    await crowd.come(*"a" * 20)
    alone = list(crowd.held)
    await crowd.come("b", "c", "b")
    waiting = len(crowd.places)
    await crowd.end()

    assert ["a"] * 6 == alone
    assert ["b", "c"] == crowd.held[6:]
    assert 15 == waiting


async def test_tenants_take_turns() -> None:
    """The next place is another's, not that of the one who has two hundred in the queue."""
    crowd = Crowd(2)
    await crowd.come(*"ab", *"a" * 200, *"bcb")
    await crowd.leave(6)
    await crowd.end()

    assert ["b", "c"] == [each for each in crowd.held[2:6] if each != "a"][:2]
    assert 3 == crowd.held.count("b")


async def test_a_task_that_has_a_place_needs_no_other() -> None:
    """Otherwise as many as there are places could wait for each other."""
    places = Places(1)
    async with places.hold("a", 1), places.hold("a", 1):
        with pytest.raises(TimeoutError):
            await asyncio.create_task(enter(places, "b"))
    await enter(places, "b")

    assert 0 == len(places)


async def enter(places: Places, tenant: str) -> None:
    async with places.hold(tenant, 0.001):
        pass


@given(st.lists(st.sampled_from(["a", "b", "c", "leave", "cancel"]), max_size=60), st.integers(1, 6))
def test_no_place_is_lost(steps: list[str], places_max: int) -> None:
    """Tasks come, leave and are cancelled: places are given while there are any, and never more than there are."""

    async def run() -> None:
        crowd, each_max = Crowd(places_max), max(1, places_max - places_max // 4)
        for number, step in enumerate(steps):
            match step:
                case "leave":
                    with contextlib.suppress(IndexError):
                        await crowd.leave()
                case "cancel":
                    if crowd.tasks:
                        crowd.tasks[number % len(crowd.tasks)].cancel()
                case tenant:
                    await crowd.come(tenant)
            await crowd.settle()
        await crowd.end()
        await crowd.come(*"xyz" * places_max)
        assert places_max == len(crowd.held) - len(list(before(crowd)))
        assert max(crowd.held[-places_max:].count(each) for each in "xyz") <= each_max
        await crowd.end()

    asyncio.run(run())


def before(crowd: Crowd) -> Iterator[str]:
    """The tenants that came before the end."""
    return (each for each in crowd.held if each in "abc")
