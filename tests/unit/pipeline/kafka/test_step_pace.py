"""How far apart a producer's steps are, without Kafka."""

import pytest

from pipeline.kafka.writing.pace import PACE_MAX_S, PACE_MIN_S, PACE_SHARE, QUICK_STEPS, SLOW_PACE_S, StepPace


def acknowledge(pace: StepPace, taken_s: float, *, steps: int) -> None:
    for step in range(steps):
        now_s = 100.0 + step
        pace.note(now_s - taken_s)
        pace.note(now_s - taken_s / 2)  # the longest of a step counts
        pace.end_step(now_s, 2)


@pytest.mark.parametrize(
    ("taken_s", "pace_s"), [(0.001, PACE_MIN_S), (0.02, 0.02 * PACE_SHARE), (0.5, PACE_MAX_S)], ids=str
)
def test_the_pace_follows_the_time_an_acknowledgement_takes(taken_s: float, pace_s: float) -> None:
    """The pace follows within its bounds: quick Kafka gets small batches at once, slow Kafka fewer and larger ones."""
    pace = StepPace(0.0)
    acknowledge(pace, taken_s, steps=200)

    assert pace_s == pytest.approx(pace.pace_s)
    assert pace.next_s == pace.busy_s == pace.pace_s


def test_a_process_may_ask_for_larger_batches() -> None:
    """The process' least pace holds for its own steps; what suits Kafka is reported as it is."""
    pace = StepPace(0.01)

    assert 0.01 == pace.busy_s
    assert PACE_MIN_S == pace.pace_s


def test_without_acknowledgements_it_looks_more_rarely_until_something_is_sent() -> None:
    """Kafka is away: steps cost processor time and bring nothing."""
    pace = StepPace(0.0)
    for _ in range(QUICK_STEPS):
        assert not pace.is_slow
        pace.end_step(100.0, 0)
    assert pace.is_slow
    assert SLOW_PACE_S == pace.next_s

    pace.hurry()

    assert PACE_MIN_S == pace.next_s
