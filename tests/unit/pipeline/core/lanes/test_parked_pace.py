import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.lanes.parked_pace import RATE_MAX_PER_S, TARGET_MAX_US, TARGET_US, WINDOW_US, ParkedPace
from pipeline.core.units import SECOND_US

RATE_MIN_PER_S = 50.0
TICK_US = 250_000
USUAL_US = 4_000


def run(pace: ParkedPace, now_us: int, ticks: int, *, delay_us: int | None, wants: bool = True) -> tuple[int, int]:
    """Let time pass, with new records that take `delay_us`. The time then, and how many were started."""
    started = 0
    for tick in range(ticks):
        for step in range(50):
            at_us = now_us + tick * TICK_US + step * TICK_US // 50
            if step % 10 == 0 and delay_us is not None:
                pace.note(delay_us)
            while wants and not pace.wait_us(at_us):
                pace.start()
                started += 1
        pace.adjust(now_us + (tick + 1) * TICK_US, TICK_US / SECOND_US)
    return now_us + ticks * TICK_US, started


def test_what_is_new_slows_the_parked_down_when_it_takes_longer() -> None:
    """Parked records slow down to the least rate, and not below; the rate grows again once new ones come as usual."""
    pace = ParkedPace(rate_min_per_s=RATE_MIN_PER_S)
    now_us, _ = run(pace, SECOND_US, 60, delay_us=USUAL_US)
    quick = pace.rate_per_s
    now_us, _ = run(pace, now_us, 60, delay_us=USUAL_US + 2 * TARGET_US)
    slow = pace.rate_per_s
    now_us, started = run(pace, now_us, 40, delay_us=USUAL_US + 2 * TARGET_US)
    run(pace, now_us, 60, delay_us=USUAL_US)

    assert quick > 1_000
    assert RATE_MIN_PER_S == slow
    assert abs(started - 10 * RATE_MIN_PER_S) <= 5
    assert pace.rate_per_s > 1_000


def test_on_a_slow_machine_the_usual_delay_slows_nothing_down() -> None:
    """Delays are longer there, and differ by more, from one quarter of a second to the next."""
    pace, now_us = ParkedPace(rate_min_per_s=RATE_MIN_PER_S), SECOND_US
    for tick in range(200):
        now_us, _ = run(pace, now_us, 1, delay_us=(14_000, 22_000, 26_000, 30_000)[tick % 4])
    usual = pace.rate_per_s
    run(pace, now_us, 60, delay_us=60_000)

    assert usual > 1_000
    assert RATE_MIN_PER_S == pace.rate_per_s


@pytest.mark.parametrize(("seeming_us", "usual_us", "until_s"), [(-4_000, 1_500, 0), (1_500, 21_500, 120)])
def test_a_clock_that_was_behind_at_the_start_is_forgotten(seeming_us: int, usual_us: int, until_s: int) -> None:
    """New records seemed to arrive before they were written, or sooner than they did: that is not what is usual."""
    pace = ParkedPace(rate_min_per_s=RATE_MIN_PER_S)
    now_us, _ = run(pace, SECOND_US, 5, delay_us=seeming_us, wants=False)
    now_us, _ = run(pace, now_us, until_s * 4, delay_us=usual_us)
    run(pace, now_us, 60, delay_us=usual_us)

    assert pace.rate_per_s > 1_000


def test_clocks_that_differ_do_not_let_the_parked_have_all() -> None:
    """New records seem to take a minute, by a broker's clock that is behind."""
    pace = ParkedPace(rate_min_per_s=RATE_MIN_PER_S)
    now_us, _ = run(pace, SECOND_US, 60, delay_us=60 * SECOND_US)
    run(pace, now_us, 60, delay_us=60 * SECOND_US + 2 * TARGET_MAX_US)

    assert RATE_MIN_PER_S == pace.rate_per_s


def test_the_parked_may_have_all_when_nothing_is_new() -> None:
    """Up to a bound."""
    pace = ParkedPace(rate_min_per_s=RATE_MIN_PER_S)
    run(pace, SECOND_US, 60, delay_us=None)

    assert RATE_MAX_PER_S == pace.rate_per_s


def test_a_rate_that_is_not_used_does_not_grow() -> None:
    """A burst would otherwise begin with a rate that nothing has tried."""
    pace = ParkedPace(rate_min_per_s=RATE_MIN_PER_S)
    before = pace.rate_per_s
    run(pace, SECOND_US, 100, delay_us=USUAL_US, wants=False)

    assert before == pace.rate_per_s


def test_a_load_that_has_come_to_stay_is_what_is_usual_in_the_end() -> None:
    """Two windows later the parked take their share beside it, or they would crawl for ever."""
    pace = ParkedPace(rate_min_per_s=RATE_MIN_PER_S)
    now_us, _ = run(pace, SECOND_US, 4, delay_us=USUAL_US)
    ticks = 2 * WINDOW_US // TICK_US + 8
    run(pace, now_us, ticks, delay_us=USUAL_US + 10 * TARGET_US)

    assert pace.rate_per_s > RATE_MIN_PER_S


@settings(deadline=None)  # a list may stand for half a minute, with 200 turns a second
@given(st.lists(st.tuples(st.integers(1, 20), st.none() | st.integers(-SECOND_US, 100 * SECOND_US)), max_size=6))
def test_the_rate_stays_within_its_bounds(loads: list[tuple[int, int | None]]) -> None:
    """The rate is within its bounds, whatever the clocks say, and no more is started than the highest rate allows."""
    pace, now_us = ParkedPace(rate_min_per_s=RATE_MIN_PER_S), SECOND_US
    for ticks, delay_us in loads:
        before_us = now_us
        now_us, started = run(pace, now_us, ticks, delay_us=delay_us)

        assert RATE_MIN_PER_S <= pace.rate_per_s <= RATE_MAX_PER_S
        assert started <= 1 + RATE_MAX_PER_S * ((now_us - before_us) / SECOND_US + 0.05)


def test_what_was_started_without_room_is_waited_for() -> None:
    """A lane may start a batch when there is room for one; those behind it wait as much longer."""
    pace = ParkedPace(rate_min_per_s=100.0)
    now_us = SECOND_US
    while not pace.wait_us(now_us):
        pace.start()
    once_us = pace.wait_us(now_us)
    for _ in range(10):
        pace.start()

    assert 9_000 <= once_us <= 10_001
    assert abs(pace.wait_us(now_us) - once_us - 10 * 10_000) <= 2
