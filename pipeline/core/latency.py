"""Durations counted in buckets with fixed bounds: counts can be added, and quantiles be read from the sum.

The bounds are part of what the archive has written: a change of them makes older counts unreadable.
"""

from collections.abc import Sequence

LATENCY_BOUNDS_MS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 60_000)
LATENCY_BUCKETS = len(LATENCY_BOUNDS_MS) + 1  # the last one has no upper bound


def estimate_quantile_ms(counts: Sequence[int], quantile: float) -> float | None:
    """The duration below which this share of the counted durations lies; None when nothing was counted.

    Within a bucket it is taken to be spread evenly. What lies beyond the last bound counts as that bound.
    """
    wanted = quantile * sum(counts)
    if not wanted:
        return None
    bounds = (0, *LATENCY_BOUNDS_MS, LATENCY_BOUNDS_MS[-1])
    below = 0
    for number, count in enumerate(counts):
        if count and below + count >= wanted:
            low, high = bounds[number], bounds[number + 1]
            return low + (high - low) * (wanted - below) / count
        below += count
    return float(LATENCY_BOUNDS_MS[-1])
