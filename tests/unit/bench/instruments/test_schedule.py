import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.instruments.plan import Pace
from bench.instruments.schedule import Schedule
from pipeline.core.units import SECOND_US

START_US = 1_764_000_000_000_000


def start(pace: Pace, *, batch: int = 1) -> Schedule:
    schedule = Schedule(pace, batch=batch)
    schedule.start(START_US)
    return schedule


@given(rate_per_s=st.floats(0.5, 20_000), batch=st.integers(1, 1000), after_us=st.integers(0, 10**9))
def test_times_are_fixed_whatever_was_sent(rate_per_s: float, batch: int, after_us: int) -> None:
    """An open loop: how many are due depends on the clock alone, and each is due at its time."""
    schedule = start(Pace(rate_per_s=rate_per_s), batch=batch)
    now_us = START_US + after_us
    due = schedule.count_due(now_us, sent=0)

    assert due == schedule.count_due(now_us, sent=due + 100)
    assert schedule.intended_us(due - 1, now_us) <= now_us + 1
    assert schedule.intended_us(due, now_us) >= now_us - 1


def test_the_rate_is_kept_over_a_long_time() -> None:
    """Rounding does not add up: 1,000,000 requests at 3,000 a second take 333.3 s."""
    schedule = start(Pace(rate_per_s=3000))

    assert START_US + 333_333_333 == schedule.intended_us(1_000_000, 0)


@given(after_us=st.integers(0, 10**9), batch=st.sampled_from([1, 10]))
def test_a_rising_load_has_fixed_times_as_well(after_us: int, batch: int) -> None:
    """An open loop, whatever the step: what is due has had its time, and the next one has not."""
    schedule = start(Pace(rate_per_s=50, rises_every_s=30), batch=batch)
    now_us = START_US + after_us
    due = schedule.count_due(now_us, sent=0)

    assert schedule.intended_us(due - 1, now_us) <= now_us + 1
    assert schedule.intended_us(due, now_us) >= now_us - 1
    assert schedule.intended_us(due, now_us) > schedule.intended_us(due - 1, now_us)


@pytest.mark.parametrize(
    ("after_s", "events"), [(30, 1500), (60, 3000), (90, 6000), (120, 10_500), (630, 1500 * (1 + 20 * 21 // 2))]
)
def test_a_rising_load_rises_by_itself_after_the_second_step(after_s: int, events: int) -> None:
    """50 events a second for 30 s to get warm, 50, 100, 150 … 1,000."""
    schedule = start(Pace(rate_per_s=50, rises_every_s=30))

    assert events == schedule.count_due(START_US + after_s * SECOND_US - 1, sent=0)


def test_a_stop_ends_what_is_due() -> None:
    """Events that were due before the stop are still sent."""
    schedule = start(Pace(rate_per_s=10))
    schedule.stop(START_US + SECOND_US)

    assert 10 == schedule.count_due(START_US + 5 * SECOND_US, sent=3)
    assert schedule.next_us(10) is None


def test_a_stop_of_a_closed_loop_leaves_nothing_due() -> None:
    """A free connection sends nothing more."""
    schedule = start(Pace())

    assert 8 == schedule.count_due(START_US, sent=7)
    schedule.stop(START_US + 1)
    assert 7 == schedule.count_due(START_US + 1, sent=7)


def test_a_burst_is_as_long_as_it_is() -> None:
    """The last batch may be more than is left: batches are whole."""
    schedule = start(Pace(events_max=250), batch=100)

    assert 3 == schedule.count_due(START_US, sent=3)


def test_a_limited_stream_waits_to_be_allowed() -> None:
    """The allowance never falls."""
    schedule = start(Pace(is_limited=True))

    assert 0 == schedule.count_due(START_US, sent=0)
    schedule.allow(2)
    schedule.allow(1)
    assert 2 == schedule.count_due(START_US, sent=2)


def test_nothing_is_due_before_the_start() -> None:
    """A closed loop has nothing due before the start either."""
    schedule = Schedule(Pace(), batch=1)

    assert 0 == schedule.count_due(START_US, sent=0)
    schedule.start(START_US)
    assert 0 == schedule.count_due(START_US - 1, sent=0)


@pytest.mark.parametrize(("due", "next_us"), [(0, START_US), (1, START_US + 100_000), (10, START_US + SECOND_US)])
def test_the_next_time_is_known(due: int, next_us: int) -> None:
    """The generator can sleep until then."""
    schedule = start(Pace(rate_per_s=10))

    assert next_us == schedule.next_us(due)
