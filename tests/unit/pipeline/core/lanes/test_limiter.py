from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.lanes.limiter import BUSY_WAIT_US, DestinationLimiter
from pipeline.core.units import SECOND_US

A, B = ("a.example.com", 443), ("b.example.com", 443)
PAUSES = st.lists(st.integers(0, 2 * SECOND_US), min_size=1, max_size=200)


def test_without_bounds_everything_goes() -> None:
    """The defaults hold no request back and remember no destination."""
    limiter = DestinationLimiter(rate_per_s=0, open_max=0)

    assert [0] * 1000 == [limiter.try_start(A, 0) for _ in range(1000)]
    limiter.end(A)
    assert 0 == len(limiter)


@given(PAUSES, st.floats(0.1, 50))
def test_the_rate_is_kept(pauses_us: list[int], rate_per_s: float) -> None:
    """No stretch of time has more than the rate and a second's worth, at least one, besides."""
    limiter = DestinationLimiter(rate_per_s=rate_per_s, open_max=0)
    now_us, sent_us = 0, list[int]()
    for pause_us in pauses_us:
        now_us += pause_us
        if limiter.try_start(A, now_us) == 0:
            sent_us.append(now_us)

    for index, first_us in enumerate(sent_us):
        for count, last_us in enumerate(sent_us[index:], 1):
            most = rate_per_s * (last_us - first_us) / SECOND_US + max(1, rate_per_s)
            assert count <= most + 1e-6


@given(PAUSES, st.floats(0.1, 1000))
def test_the_wait_is_enough_and_not_too_long(pauses_us: list[int], rate_per_s: float) -> None:
    """A caller may send after the stated wait; a microsecond earlier it may not."""
    limiter = DestinationLimiter(rate_per_s=rate_per_s, open_max=0)
    now_us = 0
    for pause_us in pauses_us:
        now_us += pause_us
        wait_us = limiter.try_start(A, now_us)
        if wait_us:
            assert wait_us <= SECOND_US / rate_per_s + 1
            if wait_us > 2:
                assert limiter.try_start(A, now_us + wait_us - 2) > 0
            now_us += wait_us + 1
            assert 0 == limiter.try_start(A, now_us)


@given(st.lists(st.booleans(), max_size=200), st.integers(1, 5))
def test_no_more_are_open_than_may_be(steps: list[bool], open_max: int) -> None:
    """Started ones count until they end; then the next one goes."""
    limiter = DestinationLimiter(rate_per_s=0, open_max=open_max)
    is_open = 0
    for is_start in steps:
        if is_start:
            wait_us = limiter.try_start(A, 0)
            assert (BUSY_WAIT_US if is_open == open_max else 0) == wait_us
            is_open += wait_us == 0
        elif is_open:
            limiter.end(A)
            is_open -= 1


def test_destinations_do_not_share() -> None:
    """One that is at its bound takes nothing from another; ending what never began opens nothing."""
    limiter = DestinationLimiter(rate_per_s=1, open_max=1)

    assert 0 == limiter.try_start(A, 0)
    assert limiter.try_start(A, 0) > 0
    assert 0 == limiter.try_start(B, 0)
    limiter.end(("c", 1))
    assert limiter.try_start(A, 2 * SECOND_US) > 0
    limiter.end(A)
    limiter.end(A)
    assert 0 == limiter.try_start(A, 2 * SECOND_US)
    assert limiter.try_start(A, 4 * SECOND_US) > 0


def test_memory_is_bounded() -> None:
    """The ones used longest ago are forgotten, those in flight are not."""
    limiter = DestinationLimiter(rate_per_s=1, open_max=1, destinations_max=10)
    limiter.try_start("open", 0)
    for number in range(1000):
        limiter.try_start(number, 0)
        limiter.end(number)

    assert 10 == len(limiter)
    assert limiter.try_start("open", 10 * SECOND_US) > 0
    assert limiter.try_start(999, 0) > 0
    assert 0 == limiter.try_start(0, 0)
