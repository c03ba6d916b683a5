"""Retry topics for deliveries that an application has beyond its share."""

from collections import Counter

from pipeline.core.units import SECOND_US
from pipeline.matcher.excess import APPLICATIONS_MAX, WINDOW_US, Excess
from pipeline.topics import declare_topics

TOPICS = declare_topics(prefix="", partitions=1, event_retention_s=86_400)
NOW_US = 1_795_500_460_000_000
PER_S = 100.0


def choose(excess: Excess, count: int, now_us: int, application_id: str = "a") -> dict[int, int]:
    """How many of so many wait how long, in seconds."""
    chosen = Counter(excess.choose(application_id, now_us, PER_S).delay_s for _ in range(count))
    return dict(sorted(chosen.items()))


def test_a_topic_takes_what_deliver_settles_in_twice_its_delay() -> None:
    """The longest takes the rest. Another application begins anew."""
    excess = Excess(TOPICS.of_excess())

    assert {1: 200, 10: 1_800, 60: 8_000} == choose(excess, 10_000, NOW_US)
    assert {1: 1} == choose(excess, 1, NOW_US, "b")


def test_what_was_written_a_while_ago_counts_less_and_less() -> None:
    """A little all the time waits a second, whatever came before; what comes at once after a pause does as well."""
    excess = Excess(TOPICS.of_excess())
    choose(excess, 10_000, NOW_US)

    assert {60: 1} == choose(excess, 1, NOW_US + WINDOW_US)
    assert {10: 1} == choose(excess, 1, NOW_US + WINDOW_US * 19 // 10)
    assert {1: 1} == choose(excess, 1, NOW_US + WINDOW_US * 2)
    for second in range(300):
        assert {1: 3} == choose(excess, 3, NOW_US + 10 * WINDOW_US + second * SECOND_US)


def test_a_clock_that_is_set_back_begins_anew() -> None:
    """Nothing waits longer for it than one window says."""
    excess = Excess(TOPICS.of_excess())
    choose(excess, 10_000, NOW_US)

    assert {1: 200, 10: 1} == choose(excess, 201, NOW_US - 3_600 * SECOND_US)


def test_applications_without_excess_are_forgotten() -> None:
    """Memory is bounded: those that were quiet for longest go first."""
    excess = Excess(TOPICS.of_excess())
    for application_id in ("busy", "quiet"):
        choose(excess, 10_000, NOW_US, application_id)
    choose(excess, 1, NOW_US, "busy")
    for number in range(APPLICATIONS_MAX - 1):
        choose(excess, 1, NOW_US, str(number))

    assert {60: 1} == choose(excess, 1, NOW_US, "busy")
    assert {1: 1} == choose(excess, 1, NOW_US, "quiet")
