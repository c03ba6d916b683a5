"""How far fetches are apart, by how fast records come."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.matcher.fetch_pace import GATHERED_PER_S, FetchPace

PACE_S = 0.01
FETCH_S = 0.001  # what a fetch itself takes


def run(pace: FetchPace, now_s: float, seconds: float, *, rate_per_s: float) -> tuple[float, list[int]]:
    """Records come evenly and are fetched as `pace` allows; the time at the end, and how many each fetch brought."""
    pace.pace_s = PACE_S
    fetched, sizes, end_s = 0, [], now_s + seconds
    begin_s = now_s
    while now_s < end_s:
        now_s += pace.rest_s(now_s)
        now_s = max(now_s, begin_s + (fetched + 1) / rate_per_s) + FETCH_S
        sizes.append(int((now_s - begin_s) * rate_per_s) - fetched)
        fetched += sizes[-1]
        pace.note(sizes[-1], now_s)
    return now_s, sizes


def test_what_comes_fast_is_gathered() -> None:
    pace = FetchPace()

    now_s, _ = run(pace, 100.0, 3.0, rate_per_s=2 * GATHERED_PER_S)

    assert pace.rest_s(now_s) == pytest.approx(PACE_S)


@pytest.mark.parametrize("rate_per_s", [1.0, 50.0, 200.0])
def test_what_comes_by_itself_does_not_wait(rate_per_s: float) -> None:
    """No load is gathered only because one came before."""
    pace = FetchPace()
    now_s, _ = run(pace, 100.0, 3.0, rate_per_s=5 * GATHERED_PER_S)

    now_s, sizes = run(pace, now_s, 10.0, rate_per_s=rate_per_s)

    assert set(sizes[-5:]) == {1}
    assert pace.rest_s(now_s) < PACE_S / 10


def test_the_first_fetch_does_not_wait() -> None:
    pace = FetchPace()
    pace.pace_s = PACE_S

    assert pace.rest_s(100.0) == 0
    pace.note(1, 100.0)
    assert pace.rest_s(100.0) < PACE_S / 10


@given(fetches=st.lists(st.tuples(st.integers(1, 5000), st.floats(0, 10))), pace_s=st.floats(0, 1))
def test_no_rest_is_longer_than_the_pace(fetches: list[tuple[int, float]], pace_s: float) -> None:
    pace, now_s = FetchPace(), 100.0
    pace.pace_s = pace_s
    for records, passed_s in fetches:
        now_s += passed_s
        pace.note(records, now_s)
        assert 0 <= pace.rest_s(now_s) <= pace_s + 1e-9


def test_where_processors_are_short_even_few_are_gathered() -> None:
    """A busy machine waits at any rate of records; a record after a pause does not wait."""
    pace = FetchPace()
    pace.least_s = 0.1
    pace.note(1, 100.0)

    assert pace.rest_s(100.0) == pytest.approx(0.1)
    assert pace.rest_s(100.06) == pytest.approx(0.04)
    assert 0.0 == pace.rest_s(101.0)
