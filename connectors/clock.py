"""The two clocks, in microseconds. Records carry wall time; whatever is waited for or limited is measured steadily."""

import time


def wall_us() -> int:
    """Since the epoch, UTC: for records, and to compare with what is written in them. May jump."""
    return time.time_ns() // 1000


def steady_us() -> int:
    """Since some moment: for gates, lanes, limits and pace. Never jumps; means nothing to another process."""
    return time.monotonic_ns() // 1000
