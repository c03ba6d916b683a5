import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.evaluation.figures import CURVE, Second, pick, summarize, summarize_seconds


@pytest.mark.parametrize(("share", "value"), [(0.0, 1), (0.1, 1), (0.5, 5), (0.51, 6), (0.7, 7), (0.99, 10), (1.0, 10)])
def test_a_quantile_is_a_value_that_was_measured(share: float, value: int) -> None:
    """The nearest rank: never a value in between, which no request had."""
    assert value == pick(range(1, 11), share)


@given(values=st.lists(st.integers(0, 10**7), min_size=1), share=st.floats(0, 1))
def test_so_many_do_not_exceed_it(values: list[int], share: float) -> None:
    """A quantile says that so many values do not exceed it."""
    found = pick(sorted(values), share)

    assert sum(value <= found for value in values) >= share * len(values) - 1e-6
    assert found in values


def test_a_summary_is_in_milliseconds() -> None:
    """The order of the values does not matter."""
    latencies_us = [number * 1000 for number in range(1, 1001)]
    random.Random(1).shuffle(latencies_us)
    summary = summarize(latencies_us)

    assert summary is not None
    assert (1000, 500.0, 900.0, 990.0, 999.0, 1000.0) == (
        summary.count,
        summary.p50,
        summary.p90,
        summary.p99,
        summary.p999,
        summary.most,
    )
    assert statistics.mean(latencies_us) / 1000 == summary.mean
    assert len(CURVE) == len(summary.curve)
    assert sorted(summary.curve) == summary.curve


def test_nothing_has_no_summary() -> None:
    """An empty list is not summed up as zero milliseconds."""
    assert summarize([]) is None


def test_seconds_are_counted_from_the_start() -> None:
    """Events count in the second in which they were to be sent; those that were to be sent in none are left out."""
    start_us = 5_000_000
    points = [(5_100_000, 2000), (5_900_000, 4000), (7_000_000, 1000)]

    assert [Second(at_s=0, count=2, p50=2.0, p99=4.0), Second(at_s=2, count=1, p50=1.0, p99=1.0)] == (
        summarize_seconds(points, start_us=start_us)
    )
