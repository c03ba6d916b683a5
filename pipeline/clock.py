"""The clocks of this host. What needs the time takes one as an argument; these are what is handed in."""

import time


def wall_us() -> int:
    """Microseconds since the epoch, as the host is set."""
    return time.time_ns() // 1000


def monotonic_us() -> int:
    """Microseconds since some moment, for gates, lanes, limits and pace. Never jumps; of this host only."""
    return time.monotonic_ns() // 1000
