"""Which retry tier a delivery waits in: the longest delay that is not longer than the wait. Longer waits hop.

Every hop is read from the log and written to it. Where the time matters less than the number of hops, a tier that is
longer than the wait may be taken.
"""

from collections.abc import Sequence

from pipeline.core.units import SECOND_US


def choose_tier(delays_s: Sequence[int], wait_us: int, *, up_from: float = 1.0) -> int:
    """The index of the tier; `delays_s` ascending. What waits less than the shortest delay waits that long.

    `up_from`: from which share of the way between two delays on the longer one is taken; 1: never.
    """
    chosen = 0
    for index, delay_s in enumerate(delays_s):
        if delay_s * SECOND_US <= wait_us:
            chosen = index
        elif index:
            shorter_us = delays_s[index - 1] * SECOND_US
            way = (wait_us - shorter_us) / (delay_s * SECOND_US - shorter_us)
            return index if way > up_from else chosen
    return chosen
