from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.log.replay_lag import NOTES_MAX, ReplayLag

growths = st.lists(st.integers(0, 1000), min_size=1, max_size=50)


def note_all(growths: list[int]) -> tuple[ReplayLag, list[int]]:
    """A primary that grows by so much every second; where it was when."""
    lag, places, place = ReplayLag(), [], 0
    for second, growth in enumerate(growths):
        place += growth
        places.append(place)
        lag.note_primary(float(second), place)
    return lag, places


@given(growths)
def test_a_replica_that_has_everything_is_not_behind(growths: list[int]) -> None:
    """A replica that has more than was noted last is not behind either."""
    lag, places = note_all(growths)

    assert 0.0 == lag.measure(places[-1])
    assert 0.0 == lag.measure(places[-1] + 1)


@given(growths, st.data())
def test_a_replica_is_as_old_as_the_newest_place_it_has_reached(growths: list[int], data: st.DataObject) -> None:
    """A time at which the primary was further on is not yet reached; a still primary makes no replica late."""
    lag, places = note_all(growths)
    place = data.draw(st.integers(places[0], places[-1]))
    reached = max(second for second, there in enumerate(places) if there <= place)

    assert float(len(places) - 1 - reached) == lag.measure(place)


def test_one_that_is_behind_all_that_is_known_is_that_old_at_least() -> None:
    """The notes are bounded, and so is what can be told."""
    lag = ReplayLag()
    for second in range(2 * NOTES_MAX):
        lag.note_primary(float(second), 10 + second)

    assert float(NOTES_MAX - 1) == lag.measure(0)


def test_without_a_note_nothing_is_known() -> None:
    """The primary was never asked: it may be away since the start, and the replica is all there is."""
    assert 0.0 == ReplayLag().measure(5)


def test_another_primary_begins_anew() -> None:
    """Places of the old log say nothing after a fail-over."""
    lag = ReplayLag()
    lag.note_primary(0.0, 1000)
    lag.note_primary(1.0, 500)

    assert 0.0 == lag.measure(500)
