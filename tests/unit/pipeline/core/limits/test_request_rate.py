from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.limits.request_rate import RequestRate


def test_a_burst_and_then_the_rate() -> None:
    """A key may send its burst at once, and goes on at its rate."""
    rate = RequestRate(rate_per_s=10, burst=3)

    assert [0, 0, 0] == [rate.take("a", 100.0) for _ in range(3)]
    assert 0.1 == round(rate.take("a", 100.0), 6)
    assert 0 == rate.take("a", 100.1)
    assert 0 < rate.take("a", 100.1)


def test_keys_do_not_share() -> None:
    """Requests of one caller are taken from no other."""
    rate = RequestRate(rate_per_s=1, burst=1)

    assert [0, 0] == [rate.take(key, 0.0) for key in ("a", "b")]
    assert 0 < rate.take("a", 0.0)


def test_keys_are_bounded() -> None:
    """Callers that make up keys do not fill memory."""
    rate = RequestRate(rate_per_s=1, burst=1, keys_max=10)
    for key in range(1000):
        rate.take(key, 0.0)

    assert 10 == len(rate)


@given(st.lists(st.floats(0, 5), min_size=1, max_size=200), st.floats(0.5, 50), st.integers(1, 20))
def test_never_more_than_burst_and_rate(pauses_s: list[float], rate_per_s: float, burst: int) -> None:
    """The burst and what the rate gives are served at most, in any time; a client that waits as asked is served."""
    rate = RequestRate(rate_per_s=rate_per_s, burst=burst)
    now_s, served_at_s = 0.0, []
    for pause_s in pauses_s:
        now_s += pause_s
        wait_s = rate.take("a", now_s)
        if wait_s == 0:
            served_at_s.append(now_s)
        else:
            now_s += wait_s + 1e-6
            assert 0 == rate.take("a", now_s)
            served_at_s.append(now_s)
    for first in range(len(served_at_s)):
        for last in range(first, len(served_at_s)):
            passed_s = served_at_s[last] - served_at_s[first]
            assert last - first + 1 <= burst + passed_s * rate_per_s + 1e-6
