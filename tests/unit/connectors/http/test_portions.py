"""A crowd of outcomes leaves the loop to others between its portions."""

import asyncio
from contextlib import suppress

import pytest

from connectors.http.portions import SPREAD_SHARE, Portions, choose_spread_s
from pipeline.core.units import SECOND_US

SIZE = 5


async def run_crowd(count: int, given_up: frozenset[int] = frozenset()) -> tuple[list[int], list[int]]:
    """The members in the order in which they went on, and how many had when the loop turned, turn by turn."""
    portions, loop = Portions(SIZE), asyncio.get_running_loop()
    went_on: list[int] = []
    by_turn: list[int] = []

    async def go(number: int) -> None:
        await portions.take()
        went_on.append(number)

    def note_turn() -> None:
        by_turn.append(len(went_on))
        if len(by_turn) < 10 * count:
            loop.call_soon(note_turn)

    tasks = [asyncio.create_task(go(number)) for number in range(count)]
    loop.call_soon(note_turn)
    await asyncio.sleep(0)
    for number in given_up:
        tasks[number].cancel()
    for task in tasks:
        with suppress(asyncio.CancelledError):
            await task
    return went_on, by_turn


@pytest.mark.parametrize("count", [1, SIZE, SIZE + 1, 100])
async def test_all_go_on_in_order_a_portion_a_turn(count: int) -> None:
    """Nothing is left behind or overtaken, and no turn of the loop takes more than a portion."""
    went_on, by_turn = await run_crowd(count)

    assert list(range(count)) == went_on
    steps = [later - earlier for earlier, later in zip([0, *by_turn], [*by_turn, count], strict=False)]
    assert max(steps) <= SIZE


async def test_a_few_do_not_wait() -> None:
    """A portion goes on at once, without a turn of the loop."""
    portions = Portions(SIZE)
    turned: list[bool] = []
    asyncio.get_running_loop().call_soon(turned.append, True)

    for _ in range(SIZE):
        await portions.take()

    assert turned == []
    await portions.take()
    assert turned == [True]


async def test_those_who_give_up_take_no_place() -> None:
    """A process that ends cancels what waits; the others go on as if it had not asked."""
    given_up = frozenset(range(10, 90))

    went_on, by_turn = await run_crowd(100, given_up)

    assert [number for number in range(100) if number not in given_up] == went_on
    assert by_turn.index(20) < 20


@pytest.mark.parametrize("took_s", [2, 15, 60])
def test_requests_that_ended_together_are_spread(took_s: int) -> None:
    """Each waits for its part of a fifth of the time that they took, so that the next ones do not begin together."""
    spread_s = [choose_spread_s(took_s * SECOND_US, number / 10) for number in range(11)]

    assert [pytest.approx(SPREAD_SHARE * took_s * number / 10) for number in range(11)] == spread_s


def test_a_quick_outcome_does_not_wait() -> None:
    """A healthy endpoint's outcomes are taken at once."""
    assert choose_spread_s(SECOND_US, 1.0) == 0
