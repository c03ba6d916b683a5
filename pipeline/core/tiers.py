"""Which retry tier a delivery waits in: the longest delay that is not longer than the wait. Longer waits hop."""

from collections.abc import Sequence

SECOND_US = 1_000_000


def choose_tier(delays_s: Sequence[int], wait_us: int) -> int:
    """The index of the tier; `delays_s` ascending. What waits less than the shortest delay waits that long."""
    chosen = 0
    for index, delay_s in enumerate(delays_s):
        if delay_s * SECOND_US <= wait_us:
            chosen = index
    return chosen
