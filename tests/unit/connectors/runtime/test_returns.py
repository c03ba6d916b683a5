"""How fast records come back from retry topics."""

import pytest

from connectors.runtime.returns import LATE_SHARE, RATE_MIN_PER_S, Returns
from connectors.sink import LogRecord
from pipeline.core.lanes.parked_pace import RATE_MAX_PER_S
from pipeline.core.units import SECOND_US
from pipeline.topics import declare_topics

TOPICS = declare_topics(prefix="", partitions=1, event_retention_s=86_400)
MINUTE = TOPICS.retries[2]
NOW_US = 1_795_500_460_000_000
TICK_S = 0.25


def make_records(late_us: int, count: int = 20) -> list[LogRecord]:
    """Records of the topic of a minute that are late by so much."""
    return [LogRecord(MINUTE.name, 0, each, b"k", b"v", NOW_US - 60 * SECOND_US - late_us) for each in range(count)]


@pytest.mark.parametrize(("late_s", "share"), [(-1, 1.0), (0, 1.0), (15, 0.5), (60 * LATE_SHARE, 0.0), (3_600, 0.0)])
def test_what_is_late_rests_less(late_s: float, share: float) -> None:
    """A record comes half of its delay late at most, as far as the loop keeps up."""
    returns = Returns(TOPICS.retries, lambda: NOW_US)

    assert returns.rest_s(make_records(round(late_s * SECOND_US))) == pytest.approx(share * 20 / RATE_MIN_PER_S)


def test_the_rate_follows_how_long_new_records_wait() -> None:
    """The rate rises while it is used and new records do not wait, and falls to its floor when they do."""
    returns = Returns(TOPICS.retries, lambda: NOW_US)

    def run(ticks: int, delay_us: int) -> float:
        for _ in range(ticks):
            returns.note_new(delay_us)
            for _ in range(200):
                rest_s = returns.rest_s(make_records(0))
            returns.tick(TICK_S)
        return rest_s

    assert run(100, 3_000) == pytest.approx(20 / RATE_MAX_PER_S)
    assert run(100, 300_000) == pytest.approx(20 / RATE_MIN_PER_S)
