from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.log.unsettled_age import STEP_US, UnsettledAge

steps = st.lists(st.tuples(st.integers(1, 3), st.integers(0, 3 * STEP_US)), min_size=1, max_size=50)


def test_nothing_is_known_before_anything_was_read() -> None:
    """An age is not guessed."""
    assert None is UnsettledAge().oldest_us(0)


@given(steps=steps, share=st.floats(0, 1))
def test_an_age_is_never_too_low_and_at_most_a_second_too_high(steps: list[tuple[int, int]], share: float) -> None:
    """An alarm comes rather early than late, whatever was settled."""
    ages, offset, timestamp_us, log = UnsettledAge(), 0, 1_000_000_000, {}
    for offset_step, us in steps:
        offset, timestamp_us = offset + offset_step, timestamp_us + us
        log[offset] = timestamp_us
        ages.note(offset, timestamp_us)
    settled = list(log)[int(share * (len(log) - 1))]
    told_us = ages.oldest_us(settled)

    assert told_us is not None
    assert log[settled] - STEP_US < told_us <= log[settled]


def test_what_comes_after_all_was_settled_is_young() -> None:
    """The age of the last record before it does not count, nor before it has been read."""
    ages = UnsettledAge()
    ages.note(7, 1_000_000)
    ages.catch_up(8, 900_000_000)
    unread_us = ages.oldest_us(8)
    ages.note(8, 950_000_000)

    assert 900_000_000 == unread_us
    assert 950_000_000 == ages.oldest_us(8)


def test_what_is_not_read_yet_is_as_old_as_what_was_read_last() -> None:
    """Reading may be held up by other partitions: retention goes on meanwhile."""
    ages = UnsettledAge()
    ages.note(7, 5_000_000)

    assert 5_000_000 == ages.oldest_us(8)
