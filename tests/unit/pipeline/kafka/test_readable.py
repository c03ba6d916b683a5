from hypothesis import given
from hypothesis import strategies as st

from pipeline.kafka.readable import Trial, find_readable


class Log:
    """Batches of the given sizes; those of `bad` cannot be read. Counts the trials."""

    def __init__(self, sizes: list[int], bad: set[int], *, named: bool = True) -> None:
        self.starts = [sum(sizes[:number]) for number in range(len(sizes))]
        self.end = sum(sizes)
        self.bad = bad
        self.named = named
        self.trials = 0

    def attempt(self, offset: int) -> Trial:
        self.trials += 1
        if offset >= self.end:
            return Trial(is_readable=True)
        number = max(number for number, start in enumerate(self.starts) if start <= offset)
        if number not in self.bad:
            return Trial(is_readable=True)
        return Trial(is_readable=False, batch=self.starts[number] if self.named else None, reason="crc")


@given(st.lists(st.integers(1, 500), min_size=1, max_size=8), st.data())
def test_ends_exactly_behind_the_bad_batch(sizes: list[int], data: st.DataObject) -> None:
    """Whatever lies behind it, also other bad ones: nothing that can be read is stepped over."""
    number = data.draw(st.integers(0, len(sizes) - 1))
    bad = data.draw(st.sets(st.integers(0, len(sizes) - 1))) | {number}
    log = Log(sizes, bad)
    begin = log.starts[number] + data.draw(st.integers(0, sizes[number] - 1))
    end, first = find_readable(begin, log.end, log.attempt)

    assert log.starts[number] + sizes[number] == end
    assert "crc" == first.reason


def test_stays_where_it_can_be_read_after_all() -> None:
    """A second client decides: what went wrong on the way once is read again."""
    log = Log([10, 10], set())

    assert (10, Trial(is_readable=True)) == find_readable(10, log.end, log.attempt)
    assert 1 == log.trials


def test_a_large_batch_takes_few_trials() -> None:
    """A batch of a million is left after forty."""
    log = Log([1_000_000, 1], {0})
    end, _ = find_readable(0, log.end, log.attempt)

    assert 1_000_000 == end
    assert log.trials < 45


def test_without_names_what_is_bad_is_one() -> None:
    """Not even the batches' own offsets can be had: all that is bad in a row is left behind."""
    log = Log([5, 5, 5, 5], {1, 2}, named=False)
    end, _ = find_readable(5, log.end, log.attempt)

    assert 15 == end
