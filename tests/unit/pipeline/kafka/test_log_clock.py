"""The log's clock, learned from acknowledgements."""

from prometheus_client import generate_latest

from pipeline.clock import monotonic_us, wall_us
from pipeline.kafka.log_clock import LogClock
from pipeline.metrics import Metrics

HOUR_MS = 3_600_000
SLACK_US = 2_000_000  # between two looks at a clock on a busy machine


def test_until_something_is_known_it_is_the_hosts() -> None:
    """The clock is not called wrong then."""
    clock = LogClock(Metrics("test"))

    assert abs(clock.now_us() - wall_us()) < SLACK_US
    assert clock.check() is None


def test_it_is_the_brokers_once_a_record_was_acknowledged() -> None:
    """The broker's clock counts, however wrong the host's is; that is said."""
    metrics = Metrics("test")
    clock = LogClock(metrics)
    now_us = monotonic_us()
    clock.learn(wall_us() // 1000 - 2 * HOUR_MS, sent_at_us=now_us - 10_000, acknowledged_at_us=now_us)

    assert abs(clock.now_us() - (wall_us() - 2 * HOUR_MS * 1000)) < SLACK_US
    assert "7200 s ahead of" in (clock.check() or "")
    assert "hookline_clock_ahead_seconds 7" in generate_latest(metrics.registry).decode()


def test_late_acknowledgements_do_not_move_it() -> None:
    """The bounds of a quick acknowledgement lie within those of a slow one."""
    clock = LogClock(Metrics("test"))
    appended_ms, now_us = wall_us() // 1000, monotonic_us()
    clock.learn(appended_ms, sent_at_us=now_us - 1000, acknowledged_at_us=now_us)
    before_us = clock.ahead_us()
    clock.learn(appended_ms, sent_at_us=now_us - 1000, acknowledged_at_us=now_us + 5_000_000)

    assert abs(clock.ahead_us() - before_us) < 1_000_000
