from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from pipeline.kafka.routes.applications import Version, choose_version


@dataclass(frozen=True, slots=True)
class Published:
    """A version, and when the broker appended it."""

    number: int
    appended_at_us: int


@st.composite
def histories(draw: st.DrawFn) -> list[Published]:
    """The kept versions of an application, oldest first; the brokers' clocks may go back a little."""
    number, at_us, history = draw(st.integers(0, 5)), 1000, []
    for step in draw(st.lists(st.integers(1, 3), min_size=1, max_size=8)):
        number += step
        at_us += draw(st.integers(-20, 100))
        history.append(Published(number, at_us))
    return history


def choose(history: list[Published], appended_at_us: int, version_min: int) -> int:
    versions = [Version(each.number, each.appended_at_us) for each in history]
    return choose_version(versions, appended_at_us, version_min).number


@given(histories(), st.integers(900, 1600), st.integers(0, 30))
def test_the_newest_that_had_been_announced_or_published(
    history: list[Published], appended_at_us: int, version_min: int
) -> None:
    """The result equals a look at every version; when none of them had been, the oldest that is kept."""
    applied = [each for each in history if each.number <= version_min or each.appended_at_us <= appended_at_us]

    assert (applied or history[:1])[-1].number == choose(history, appended_at_us, version_min)


@given(histories(), st.data())
def test_behind_a_marker_never_an_older_version(history: list[Published], data: st.DataObject) -> None:
    """The version announced in the log applies, whatever the clocks of the brokers say."""
    announced = data.draw(st.sampled_from(history))

    assert choose(history, data.draw(st.integers(0, 2000)), announced.number) >= announced.number


@given(histories(), st.integers(0, 10_000))
def test_a_restart_chooses_as_before(history: list[Published], later_us: int) -> None:
    """An event of long after all changes gets the newest version, with or without its marker read again."""
    after_us = max(each.appended_at_us for each in history) + later_us

    assert history[-1].number == choose(history, after_us, 0) == choose(history, after_us, history[-1].number)


def test_an_event_before_a_change_keeps_its_routes_after_a_restart() -> None:
    """The change was published when the event had been accepted: it does not apply, although it is known by now."""
    history = [Published(1, 1000), Published(2, 2000), Published(3, 3000)]

    assert [1, 1, 2, 2, 3] == [choose(history, at_us, 0) for at_us in (500, 1999, 2000, 2999, 3000)]
