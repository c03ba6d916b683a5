"""Quantiles from counts by bucket."""

import math
from bisect import bisect

from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.latency import LATENCY_BOUNDS_MS, LATENCY_BUCKETS, estimate_quantile_ms

DURATIONS_MS = st.lists(st.floats(min_value=0, max_value=LATENCY_BOUNDS_MS[-1]), min_size=1, max_size=200)


def count(durations_ms: list[float]) -> list[int]:
    """Count values by bucket, as PostgreSQL's `width_bucket` does."""
    counts = [0] * LATENCY_BUCKETS
    for each in durations_ms:
        counts[bisect(LATENCY_BOUNDS_MS, each)] += 1
    return counts


@given(DURATIONS_MS, st.sampled_from([0.5, 0.75, 1.0]))
def test_an_estimate_lies_in_the_bucket_of_the_true_quantile(durations_ms: list[float], quantile: float) -> None:
    """The estimate is wrong by the width of that bucket at most."""
    exact = sorted(durations_ms)[math.ceil(quantile * len(durations_ms)) - 1]
    number = bisect(LATENCY_BOUNDS_MS, exact)
    bounds = (0, *LATENCY_BOUNDS_MS, LATENCY_BOUNDS_MS[-1])

    estimated = estimate_quantile_ms(count(durations_ms), quantile)
    assert estimated is not None
    assert bounds[number] <= estimated <= bounds[number + 1]


@given(DURATIONS_MS, DURATIONS_MS)
def test_counts_can_be_added(one: list[float], other: list[float]) -> None:
    """The sum of two times' counts is the counts of both."""
    summed = [first + second for first, second in zip(count(one), count(other), strict=True)]

    assert count(one + other) == summed


def test_nothing_has_no_quantile() -> None:
    """No attempt, no duration; one beyond the last bound counts as that bound."""
    assert estimate_quantile_ms([0] * LATENCY_BUCKETS, 0.5) is None
    assert float(LATENCY_BOUNDS_MS[-1]) == estimate_quantile_ms(count([10.0**9]), 0.99)
