from itertools import islice

import pytest

from tests.support.eventually import eventually, limit_pause, pauses


async def test_the_first_truthy_value_is_returned() -> None:
    """Falsy values and failed assertions mean "not yet"."""
    answers = iter([0, "", None, "yes"])

    def check() -> object:
        value = next(answers)
        assert value is not None, "not yet"
        return value

    assert await eventually(check) == "yes"


async def test_an_async_check_is_awaited() -> None:
    """The awaited value counts, not the coroutine, which is always truthy."""
    answers = iter([[], [7]])

    async def check() -> list[int]:
        return next(answers)

    assert await eventually(check) == [7]


async def test_a_timeout_shows_the_last_value() -> None:
    """A check that forgot to return anything is told apart from one that failed."""
    with pytest.raises(AssertionError, match="returned None, which is not truthy"):
        await eventually(lambda: None, timeout_s=0)


async def test_a_timeout_shows_the_last_failure() -> None:
    """The assertion's own words, and the assertion itself as the cause."""

    def check() -> bool:
        raise AssertionError("3 of 4 arrived")

    with pytest.raises(AssertionError, match="3 of 4 arrived") as caught:
        await eventually(check, timeout_s=0)
    assert isinstance(caught.value.__cause__, AssertionError)


async def test_other_exceptions_come_through_at_once() -> None:
    """A mistake in the check is no reason to wait, not even a TimeoutError of its own."""

    async def check() -> bool:
        raise TimeoutError("of the check's own")

    with pytest.raises(TimeoutError, match="of the check's own"):
        await eventually(check)


def test_pauses_grow_from_10_to_250_ms() -> None:
    """Quick answers are seen quickly, slow ones are not asked for all the time."""
    assert list(islice(pauses(), 7)) == [0.01, 0.02, 0.04, 0.08, 0.16, 0.25, 0.25]


def test_a_cheap_check_is_asked_more_often() -> None:
    """An expensive check takes a tenth of the time at most, until the pauses are at their longest."""
    assert 0.01 == limit_pause(0.01, cost_s=10)
    assert 0.05 == limit_pause(0.25, cost_s=0.001)
    assert 0.18 == pytest.approx(limit_pause(0.25, cost_s=0.02))
    assert 0.25 == limit_pause(0.25, cost_s=1)
