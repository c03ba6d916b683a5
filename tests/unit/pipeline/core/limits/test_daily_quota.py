from datetime import date

from pipeline.core.limits.daily_quota import DailyQuota

DAY, NEXT = date(2026, 1, 2), date(2026, 1, 3)


def make(limit: int = 10) -> DailyQuota:
    quota = DailyQuota(limit)
    quota.begin_day(DAY)
    return quota


def test_what_is_accepted_here_counts_at_once() -> None:
    """An accepted event counts before it is added up, and not twice afterwards."""
    quota = make()
    quota.count("a", 4)
    added = quota.take_own()
    quota.count("a", 1)

    assert 5 == quota.find_room("a")
    assert [] == quota.learn({"a": 4}, added)
    assert 5 == quota.find_room("a")
    assert {"a": 1} == quota.take_own()
    assert 10 == quota.find_room("b")


def test_what_others_accepted_counts_when_it_is_known() -> None:
    """The room is never less than none."""
    quota = make()
    quota.learn({"a": 12}, {})

    assert 0 == quota.find_room("a")


def test_a_total_that_is_older_takes_nothing_back() -> None:
    """Two answers may arrive in another order than they were given."""
    quota = make()
    quota.learn({"a": 6}, {})
    quota.learn({"a": 5}, {})

    assert 4 == quota.find_room("a")


def test_80_and_100_percent_are_noticed_once() -> None:
    """One step may pass both."""
    quota = make()

    assert [] == quota.learn({"a": 7}, {})
    assert [("a", 80)] == quota.learn({"a": 8}, {})
    assert [("a", 100)] == quota.learn({"a": 10}, {})
    assert [] == quota.learn({"a": 11}, {})
    assert [("b", 80), ("b", 100)] == quota.learn({"b": 10}, {})


def test_another_day_begins_with_nothing() -> None:
    """A clock that goes back begins none."""
    quota = make()
    quota.count("a", 10)
    quota.begin_day(NEXT)
    quota.count("a", 1)
    quota.begin_day(DAY)

    assert 9 == quota.find_room("a")


def test_an_application_can_have_a_limit_of_its_own() -> None:
    """The notice names the application's own limit; without one the common limit applies again."""
    quota = make()
    quota.set_limits(["a"], {"a": 5})
    quota.learn({"a": 3, "b": 3}, {})

    assert [2, 7] == [quota.find_room("a"), quota.find_room("b")]
    assert [("a", 80)] == quota.learn({"a": 4, "b": 4}, {})
    quota.set_limits(["a", "b"], {"b": 20})
    assert [6, 16] == [quota.find_room("a"), quota.find_room("b")]
