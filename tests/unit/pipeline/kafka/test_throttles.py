import pytest

from pipeline.kafka.throttles import HELD_MIN_S, Throttles


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_a_client_that_is_held_back_is_named_until_it_is_answered() -> None:
    """Another client's answers say nothing about it."""
    throttles = Throttles(Clock())
    held, other = throttles.open(), throttles.open()
    held.hold(277.0)
    other.hold(0.0)

    assert "277 s" in (throttles.check() or "")

    held.hold(0.0)

    assert throttles.check() is None


@pytest.mark.parametrize(("for_s", "later_s"), [(HELD_MIN_S / 2, 0.0), (277.0, 278.0)])
def test_a_wait_that_is_short_or_over_is_no_problem(for_s: float, later_s: float) -> None:
    """Reading goes on in both."""
    clock = Clock()
    throttles = Throttles(clock)
    held = throttles.open()
    held.hold(for_s)
    clock.now_s += later_s

    assert throttles.check() is None


def test_a_client_that_is_gone_holds_nothing_back() -> None:
    """The throttle goes with the client."""
    throttles = Throttles(Clock())
    throttles.open().hold(277.0)

    assert throttles.check() is None
