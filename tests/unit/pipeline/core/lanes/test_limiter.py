from collections import Counter
from heapq import heappop, heappush
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.lanes.limiter import BACK_WITHIN_US, BUSY_WAIT_US, DestinationLimiter
from pipeline.core.units import SECOND_US

A, B = ("a.example.com", 443), ("b.example.com", 443)
OWNER = "application"
PAUSES = st.lists(st.integers(0, 2 * SECOND_US), min_size=1, max_size=200)


def test_without_bounds_everything_goes() -> None:
    """The defaults hold no request back and remember no destination."""
    limiter = DestinationLimiter(rate_per_s=0, open_max=0)

    assert [0] * 1000 == [limiter.try_start(A, OWNER, 0) for _ in range(1000)]
    limiter.end(A, OWNER)
    assert 0 == len(limiter)


@given(PAUSES, st.floats(0.1, 50))
def test_the_rate_is_kept(pauses_us: list[int], rate_per_s: float) -> None:
    """No stretch of time has more than the rate and a second's worth, at least one, besides."""
    limiter = DestinationLimiter(rate_per_s=rate_per_s, open_max=0)
    now_us, sent_us = 0, list[int]()
    for pause_us in pauses_us:
        now_us += pause_us
        if limiter.try_start(A, OWNER, now_us) == 0:
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
        wait_us = limiter.try_start(A, OWNER, now_us)
        if wait_us:
            assert wait_us <= SECOND_US / rate_per_s + 1
            if wait_us > 2:
                assert limiter.try_start(A, OWNER, now_us + wait_us - 2) > 0
            now_us += wait_us + 1
            assert 0 == limiter.try_start(A, OWNER, now_us)


@given(st.lists(st.booleans(), max_size=200), st.integers(1, 5))
def test_no_more_are_open_than_may_be(steps: list[bool], open_max: int) -> None:
    """Started ones count until they end; then the next one goes."""
    limiter = DestinationLimiter(rate_per_s=0, open_max=open_max)
    is_open = 0
    for is_start in steps:
        if is_start:
            wait_us = limiter.try_start(A, OWNER, 0)
            assert (BUSY_WAIT_US if is_open == open_max else 0) == wait_us
            is_open += wait_us == 0
        elif is_open:
            limiter.end(A, OWNER)
            is_open -= 1


def test_destinations_do_not_share() -> None:
    """One that is at its bound takes nothing from another; ending what never began opens nothing."""
    limiter = DestinationLimiter(rate_per_s=1, open_max=1)

    assert 0 == limiter.try_start(A, OWNER, 0)
    assert limiter.try_start(A, OWNER, 0) > 0
    assert 0 == limiter.try_start(B, OWNER, 0)
    limiter.end(("c", 1), OWNER)
    assert limiter.try_start(A, OWNER, 2 * SECOND_US) > 0
    limiter.end(A, OWNER)
    limiter.end(A, OWNER)
    assert 0 == limiter.try_start(A, OWNER, 2 * SECOND_US)
    assert limiter.try_start(A, OWNER, 4 * SECOND_US) > 0


def test_memory_is_bounded() -> None:
    """The ones used longest ago are forgotten, those in flight are not."""
    limiter = DestinationLimiter(rate_per_s=1, open_max=1, destinations_max=10)
    limiter.try_start("open", OWNER, 0)
    for number in range(1000):
        limiter.try_start(number, OWNER, 0)
        limiter.end(number, OWNER)

    assert 10 == len(limiter)
    assert limiter.try_start("open", OWNER, 10 * SECOND_US) > 0
    assert limiter.try_start(999, OWNER, 0) > 0
    assert 0 == limiter.try_start(0, OWNER, 0)


def test_an_application_leaves_places_for_others() -> None:
    """One whose requests hang has all places while it is alone; then it leaves as many as it has."""
    limiter = DestinationLimiter(rate_per_s=0, open_max=8)
    assert 8 == sum(limiter.try_start(A, "hangs", 0) == 0 for _ in range(20))
    assert BUSY_WAIT_US == limiter.try_start(A, "other", 0)
    for _ in range(8):
        limiter.end(A, "hangs")
    assert 4 == sum(limiter.try_start(A, "hangs", SECOND_US) == 0 for _ in range(20))
    for second in range(1, 60):
        assert 0 == limiter.try_start(A, "other", second * SECOND_US)
        limiter.end(A, "other")
        assert 0 < limiter.try_start(A, "hangs", second * SECOND_US)


def test_a_single_place_goes_round() -> None:
    """The one that waits has it next, however often the other asks."""
    limiter = DestinationLimiter(rate_per_s=0, open_max=1)
    assert 0 == limiter.try_start(A, "hangs", 0)
    assert BUSY_WAIT_US == limiter.try_start(A, "other", 1)
    assert BUSY_WAIT_US == limiter.try_start(A, "hangs", 2)
    limiter.end(A, "hangs")
    assert BUSY_WAIT_US == limiter.try_start(A, "hangs", 3)
    assert 0 == limiter.try_start(A, "other", SECOND_US)
    limiter.end(A, "other")
    assert 0 == limiter.try_start(A, "hangs", SECOND_US)


def test_a_turn_that_is_not_taken_holds_up_no_one() -> None:
    """A turn lasts for seconds: the delivery may have been cancelled, or gone to another process."""
    limiter = DestinationLimiter(rate_per_s=0, open_max=1)
    assert 0 == limiter.try_start(A, "a", 0)
    assert BUSY_WAIT_US == limiter.try_start(A, "gone", 1)
    limiter.end(A, "a")
    assert BUSY_WAIT_US == limiter.try_start(A, "a", 2)
    assert 0 == limiter.try_start(A, "a", BUSY_WAIT_US + BACK_WITHIN_US + 2)


@given(st.integers(2, 20), st.integers(2, 4), st.randoms(use_true_random=True))
def test_a_rate_is_shared_by_those_that_wait(rate_per_s: int, others: int, random: Random) -> None:
    """One that asks all the time gets no more than others that come back when they were told to; nothing is wasted."""
    limiter = DestinationLimiter(rate_per_s=rate_per_s, open_max=0)
    back_at_us: list[tuple[int, int, int]] = []
    for owner in range(1, others):
        for number in range(2 * rate_per_s):
            heappush(back_at_us, (0, owner, number))
    sent: Counter[int] = Counter()
    for now_us in range(0, 10 * SECOND_US, SECOND_US // 50):
        while back_at_us and back_at_us[0][0] <= now_us:
            _, owner, number = heappop(back_at_us)
            wait_us = limiter.try_start(A, owner, now_us)
            sent[owner] += wait_us == 0
            # as through a retry topic, and some time more: by chance, not as an opponent would choose it
            back_us = now_us + max(wait_us, SECOND_US) + random.randrange(SECOND_US // 2)
            heappush(back_at_us, (back_us, owner, number))
        sent[0] += limiter.try_start(A, 0, now_us) == 0

    assert sum(sent.values()) >= 9 * rate_per_s
    for owner in range(1, others):
        assert sent[owner] >= sent[0] / 2 - 2
