"""A rate with a burst, in both forms."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.limits.token_bucket import CellRate, TokenBucket
from pipeline.core.units import SECOND_US

RATES = st.integers(1, 1000)
STEPS = st.lists(st.integers(0, SECOND_US), min_size=1, max_size=60)


@given(rate_per_s=RATES, steps_us=STEPS)
def test_never_more_than_burst_and_rate(rate_per_s: int, steps_us: list[int]) -> None:
    """A bucket gives a second's worth at once, and the rate after that, in any pattern of asking."""
    bucket = TokenBucket(rate_per_s=rate_per_s, burst=rate_per_s, tokens=rate_per_s)
    now_us = started = 0
    bucket.earn(0)
    for step_us in steps_us:
        now_us += step_us
        while bucket.wait_us(now_us) == 0:
            bucket.take()
            started += 1

    assert started <= rate_per_s + rate_per_s * now_us / SECOND_US


@given(rate_per_s=RATES, steps_us=STEPS)
def test_after_the_wait_one_may_start(rate_per_s: int, steps_us: list[int]) -> None:
    """The wait suffices for a bucket that starts empty, at whatever time it is asked."""
    bucket = TokenBucket(rate_per_s=rate_per_s, burst=1, tokens=0)
    now_us = 0
    bucket.earn(0)
    for step_us in steps_us:
        now_us += step_us
        now_us += bucket.wait_us(now_us)

        assert bucket.wait_us(now_us) == 0
        bucket.take()


def test_what_started_without_a_token_is_owed() -> None:
    """Starts without a token make later ones wait longer."""
    bucket = TokenBucket(rate_per_s=10, burst=1, tokens=1)
    for _ in range(3):
        bucket.take()

    assert 300_001 == bucket.wait_us(0)


@given(
    rate_per_s=st.sampled_from((1, 2, 4, 5, 8, 10, 100)),
    steps_us=st.lists(st.integers(0, 20).map(lambda n: n * 50_000)),
)
def test_one_number_is_as_good_as_a_bucket(rate_per_s: int, steps_us: list[int]) -> None:
    """Both let the same ones start. (At rates and times that binary fractions do not blur.)"""
    bucket = TokenBucket(rate_per_s=rate_per_s, burst=rate_per_s, tokens=rate_per_s)
    rate, served_until_us = CellRate(interval=SECOND_US // rate_per_s, burst=rate_per_s), 0.0
    now_us = 0
    bucket.earn(0)
    for step_us in steps_us:
        now_us += step_us
        may_start = rate.wait(served_until_us, now_us) <= 0

        assert may_start == (bucket.earn(now_us) >= 1 - 1e-9)
        if may_start:
            bucket.take()
            served_until_us = rate.serve(served_until_us, now_us)
