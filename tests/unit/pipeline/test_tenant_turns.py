"""Tasks of tenants wait in turns."""

import asyncio
from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from pipeline.tenant_turns import TenantTurns, Turn

STEPS = st.tuples(st.sampled_from(["join", "give", "leave", "cancel"]), st.sampled_from("abc"))


async def test_tenants_have_turns_and_a_busy_one_keeps_its_place() -> None:
    """A tenant that may have none is passed over, and first as soon as it may."""
    turns = TenantTurns()
    for tenant in "aabbc":
        turns.join(tenant)
    given = [turns.give(lambda tenant: tenant != "a") for _ in range(2)]

    assert ["b", "c"] == given
    assert ["a", "b", "a", None] == [turns.give() for _ in range(4)]


@given(st.lists(STEPS, max_size=40))
def test_each_turn_is_given_once_or_left(steps: list[tuple[str, str]]) -> None:
    """The first of a tenant that still waits has its next turn, in any order of giving, leaving and cancelling."""

    async def run() -> None:
        turns = TenantTurns()
        waiting: dict[str, deque[Turn]] = {tenant: deque() for tenant in "abc"}
        for step, tenant in steps:
            queue = waiting[tenant]
            match step:
                case "join":
                    queue.append(turns.join(tenant))
                case "give":
                    while queue and queue[0].cancelled():
                        queue.popleft()
                    assert (tenant if queue else None) == turns.give(tenant.__eq__)
                    if queue:
                        turn = queue.popleft()
                        assert turn.done()
                        assert not turns.leave(tenant, turn)
                case "leave" if queue:
                    assert turns.leave(tenant, queue.pop())
                case "cancel" if queue:
                    queue[-1].cancel()
        live = sum(not turn.done() for queue in waiting.values() for turn in queue)
        assert live == sum(1 for _ in iter(turns.give, None))
        assert len(turns) == 0
        assert not any(tenant in turns for tenant in "abc")

    asyncio.run(run())
