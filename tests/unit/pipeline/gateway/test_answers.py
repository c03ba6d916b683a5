"""Answers with any number of items."""

import time

import orjson

from pipeline.gateway.answers import answer_each
from tests.support.turns import count_turns

ITEMS = 50


async def test_a_long_list_lets_others_have_their_turn() -> None:
    """Other requests go on while items are shown one by one; the answer has all of them, in their order."""

    def show(number: int) -> dict[str, int]:
        until_s = time.perf_counter() + 0.003  # of work
        while time.perf_counter() < until_s:
            pass
        return {"number": number}

    async with count_turns() as turns:
        answer = await answer_each(range(ITEMS), show)

    assert turns.count >= ITEMS // 5
    assert isinstance(answer.body, bytes)
    assert [{"number": number} for number in range(ITEMS)] == orjson.loads(answer.body)


async def test_an_empty_list() -> None:
    """A list of nothing is one as well."""
    assert b"[]" == (await answer_each([], str)).body
