import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.retries.tiers import choose_tier
from pipeline.core.units import SECOND_US
from pipeline.topics import RETRY_TIERS_S


@given(st.integers(-(10**12), 10**14))
def test_nothing_waits_longer_than_it_has_to(wait_us: int) -> None:
    """The tier is the longest that ends in time; only what waits less than the shortest one waits that long."""
    chosen_us = RETRY_TIERS_S[choose_tier(RETRY_TIERS_S, wait_us)] * SECOND_US
    in_time_us = [delay_s * SECOND_US for delay_s in RETRY_TIERS_S if delay_s * SECOND_US <= wait_us]

    assert max(in_time_us, default=RETRY_TIERS_S[0] * SECOND_US) == chosen_us


@given(st.integers(0, 40 * 3600 * SECOND_US))
def test_a_long_wait_hops_and_ends(wait_us: int) -> None:
    """Hop by hop a wait comes to its end, less than the shortest tier late, in a bounded number of hops."""
    hops = 0
    while wait_us > 0:
        wait_us -= RETRY_TIERS_S[choose_tier(RETRY_TIERS_S, wait_us)] * SECOND_US
        hops += 1

    assert -RETRY_TIERS_S[0] * SECOND_US < wait_us <= 0
    # as many of the longest tier as fit, and less than the next one's share of each shorter one
    assert hops <= 40 + 5 + 9 + 5 + 10


@given(st.integers(0, 40 * 3600 * SECOND_US), st.floats(0, 1))
def test_a_tier_that_is_longer_saves_hops(wait_us: int, up_from: float) -> None:
    """A longer tier is the next one at most, taken only behind its share of the way, and then the wait has ended."""
    plain = choose_tier(RETRY_TIERS_S, wait_us)
    chosen = choose_tier(RETRY_TIERS_S, wait_us, up_from=up_from)
    if chosen == plain:
        return

    assert plain + 1 == chosen
    shorter_s, longer_s = RETRY_TIERS_S[plain], RETRY_TIERS_S[chosen]
    assert shorter_s + up_from * (longer_s - shorter_s) < wait_us / SECOND_US + 1e-3 < longer_s + 1e-3


@pytest.mark.parametrize(
    ("wait_s", "up_from", "expected"),
    [(5, 0.3, 1), (3, 0.3, 0), (20, 0.3, 1), (40, 0.3, 2), (5, 0.5, 0), (9.9, 0.0, 1), (0.5, 0.0, 0), (10**6, 0.0, 4)],
)
def test_from_a_share_of_the_way_on_the_longer_tier_is_taken(wait_s: float, up_from: float, expected: int) -> None:
    """Most of a wait is one trip."""
    assert expected == choose_tier(RETRY_TIERS_S, round(wait_s * SECOND_US), up_from=up_from)


@pytest.mark.parametrize(("wait_s", "expected"), [(0, 0), (1, 0), (9.999, 0), (10, 1), (59, 1), (60, 2), (10**6, 4)])
def test_bounds_belong_to_the_longer_tier(wait_s: float, expected: int) -> None:
    """A wait of exactly a tier's delay waits there and hops no more."""
    assert expected == choose_tier(RETRY_TIERS_S, round(wait_s * SECOND_US))
