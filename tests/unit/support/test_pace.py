from collections.abc import Sequence

import pytest

from tests.support.pace import paced


class Time:
    """A clock that goes on while its sleeper sleeps, and whenever a test says so."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def read(self) -> float:
        return self.now_s

    async def sleep(self, pause_s: float) -> None:
        self.now_s += pause_s


@pytest.mark.parametrize(
    ("skips_missed", "expected"),
    [
        (False, [(0, 0.0), (1, 3.5), (2, 3.5), (3, 3.5), (4, 4.0), (5, 5.0)]),
        (True, [(0, 0.0), (4, 4.0), (5, 5.0), (6, 6.0), (7, 7.0), (8, 8.0)]),
    ],
)
async def test_a_slow_step(skips_missed: bool, expected: Sequence[tuple[int, float]]) -> None:
    """Steps missed during a slow one follow at once, or are left out; the later ones keep the schedule."""
    time, seen = Time(), list[tuple[int, float]]()
    async for number in paced(1.0, skips_missed=skips_missed, clock=time.read, sleep=time.sleep):
        seen.append((number, time.now_s - 100))
        if len(seen) == len(expected):
            break
        time.now_s += 3.5 if number == 0 else 0.0

    assert expected == seen
