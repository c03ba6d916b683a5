"""The pace of loads and of looks at processes: a schedule by the monotonic clock, which slow steps do not shift.

A load is the only thing in a test that waits for time. A test that waits for a state uses `eventually`.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable


async def paced(
    interval_s: float,
    *,
    skips_missed: bool = False,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> AsyncIterator[int]:
    """Yield the number of each step when it is due: number × `interval_s` after the first, and never before.

    Steps that a slow one made late follow at once, so that the rate stays; with `skips_missed` they are left out, so
    that a load that waits for its answers does not come in a crowd after an outage. The loop has a turn at each step.
    """
    begun_s, number = clock(), 0
    while True:
        yield number
        number += 1
        if skips_missed:
            number = max(number, math.ceil((clock() - begun_s) / interval_s))
        await sleep(max(0.0, begun_s + number * interval_s - clock()))
