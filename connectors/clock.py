"""The clock for what is waited for or limited, in microseconds. Records carry the log's: `pipeline.kafka.log_clock`."""

import time


def steady_us() -> int:
    """Since some moment: for gates, lanes, limits and pace. Never jumps; means nothing to another process."""
    return time.monotonic_ns() // 1000
