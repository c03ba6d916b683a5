"""Long work leaves turns of the loop to others, however much of it there is."""

import asyncio

from pipeline.pauses import TURN_MAX_S, TURNS, Pauses, wait_turn
from pipeline.tenant import work_for

PARTS = 10


class Clock:
    """Stands still but for the parts that long work says it has done."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


async def do_long_work(clock: Clock, tenant: str, done: list[str]) -> None:
    """Parts of which each takes longer than one may without a pause."""
    work_for(tenant)
    pauses = Pauses(clock)
    for _ in range(PARTS):
        clock.now_s += 2 * TURN_MAX_S
        await pauses.take()
        done.append(tenant)


async def test_much_long_work_takes_no_more_turns_than_one() -> None:
    """Thirty pieces of long work do one part after each pause together, not one each."""
    clock, done = Clock(), list[str]()
    working = [asyncio.create_task(do_long_work(clock, "a", done)) for _ in range(30)]
    turns_of_others = 0
    while not all(task.done() for task in working):
        await asyncio.sleep(0)
        turns_of_others += 1

    assert 30 * PARTS == len(done)
    assert (30 * PARTS - 1) * TURNS <= turns_of_others


async def test_tenants_have_turns() -> None:
    """A tenant with one piece of long work does every other part beside one that has thirty."""
    clock, done = Clock(), list[str]()
    tenants = [*"a" * 30, "b"]
    await asyncio.gather(*(do_long_work(clock, tenant, done) for tenant in tenants))

    assert ["a", "b"] * (PARTS - 1) == done[: 2 * (PARTS - 1)]


async def test_work_that_ends_while_it_waits_holds_up_none() -> None:
    """The line passes over cancelled work."""
    waiting = [asyncio.create_task(wait_turn()) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    waiting[1].cancel()
    await asyncio.wait(waiting)

    assert [True, True, False] == [task.cancelled() for task in waiting]
