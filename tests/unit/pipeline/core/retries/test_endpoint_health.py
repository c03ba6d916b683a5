import pytest

from pipeline.core.events.operational import describe_certificate_expiring, is_certificate_warning
from pipeline.core.events.records import EndpointState
from pipeline.core.retries.endpoint_health import (
    ASK_AGAIN_INTERVAL_US,
    DISABLE_FAILURES_MIN,
    FAILING,
    RESTORED_GAP_MAX_US,
    TELL_GROWTH_US,
    TELL_INTERVAL_US,
    WARN_INTERVAL_US,
    EndpointHealth,
    is_expiring,
    restore_health,
)

NOW_US = 1_795_500_460_000_000
DAY_US = 86_400_000_000


def tell(health: EndpointHealth, now_us: int) -> EndpointState:
    return health.tell(now_us, now_us, subscription_id="s", application_id="a", endpoint_version=3)


def test_the_first_failure_is_told_and_counts_from_then() -> None:
    """An endpoint fails since the first failure after a success, whatever comes between."""
    health = EndpointHealth()
    health.fail(10_000_000, 10_000_000, error="E_TIMEOUT: x", opened_until_us=0)
    health.fail(12_000_000, 12_000_000, error="E_TIMEOUT: y", opened_until_us=0)

    assert health.should_tell(12_000_000)
    assert (2_000_000, 2) == (health.failed_for_us, health.failures)
    assert "E_TIMEOUT: y" == tell(health, 12_000_000).last_error
    health.succeed()
    assert (0, 0) == (health.failed_for_us, health.failures)


def test_a_flapping_endpoint_does_not_fill_the_log() -> None:
    """A state that changes often is published every few seconds at most; what is urgent does not wait."""
    health = EndpointHealth()
    told = 0
    for now_us in range(TELL_INTERVAL_US, 5 * TELL_INTERVAL_US, 10_000):
        health.fail(now_us, now_us, error="E", opened_until_us=0)
        health.succeed()
        if health.should_tell(now_us):
            tell(health, now_us)
            told += 1

    assert 4 == told
    health.ask_to_disable(FAILING)
    assert health.should_tell(5 * TELL_INTERVAL_US)


def test_a_request_to_disable_is_repeated_until_something_comes_of_it() -> None:
    """The record may be lost; what was asked for once and never again would hold up the endpoint for ever."""
    health = EndpointHealth()
    health.fail(10, 10, error="E", opened_until_us=0)
    health.ask_to_disable(FAILING)
    tell(health, 20)

    assert not health.should_tell(20 + ASK_AGAIN_INTERVAL_US - 1)
    assert health.should_tell(20 + ASK_AGAIN_INTERVAL_US)
    assert FAILING == tell(health, 20 + ASK_AGAIN_INTERVAL_US).disable_reason
    assert not health.should_tell(30 + ASK_AGAIN_INTERVAL_US)
    health.succeed()
    tell(health, 10 * ASK_AGAIN_INTERVAL_US)
    assert not health.should_tell(20 * ASK_AGAIN_INTERVAL_US)


def test_a_successor_goes_on_where_it_was() -> None:
    """A process that takes an endpoint over knows since when it has failed."""
    health = EndpointHealth()
    health.fail(10, 10, error="E", opened_until_us=99)
    restored = restore_health(tell(health, TELL_INTERVAL_US), endpoint_version=3, now_us=TELL_INTERVAL_US)

    assert (10, 99, "E") == (restored.failing_since_us, restored.opened_until_us, restored.last_error)
    assert not restored.should_tell(10 * TELL_INTERVAL_US)


def test_a_clock_that_was_wrong_disables_nobody() -> None:
    """One failure while the time of day is six days behind: what counts is the steady clock, and attempts."""
    health = EndpointHealth()
    health.fail(NOW_US - 6 * DAY_US, 1_000_000, error="E", opened_until_us=0)
    for second in range(2, 30):
        health.fail(NOW_US, second * 1_000_000, error="E", opened_until_us=0)

    assert not health.has_failed_for(5 * DAY_US)
    assert health.has_failed_for(27_000_000)


def test_days_with_hardly_an_attempt_say_little() -> None:
    """A subscription that gets an event a week has failed once, not for a week."""
    health = EndpointHealth()
    for day in range(DISABLE_FAILURES_MIN - 1):
        health.fail(NOW_US + 7 * day * DAY_US, 7 * day * DAY_US, error="E", opened_until_us=0)

    assert not health.has_failed_for(5 * DAY_US)


@pytest.mark.parametrize(("away_us", "counted_us"), [(DAY_US // 24, DAY_US // 24), (6 * DAY_US, RESTORED_GAP_MAX_US)])
def test_failing_goes_on_over_a_restart(away_us: int, counted_us: int) -> None:
    """Counts are kept; between processes the time of day counts, within a bound."""
    health = EndpointHealth()
    health.fail(NOW_US, 0, error="E", opened_until_us=0)
    health.fail(NOW_US + DAY_US, DAY_US, error="E", opened_until_us=0)
    told = health.tell(NOW_US + DAY_US, DAY_US, subscription_id="s", application_id="a", endpoint_version=3)
    restored = restore_health(told, endpoint_version=3, now_us=NOW_US + DAY_US + away_us)
    restored.fail(NOW_US + DAY_US + away_us, 5, error="E", opened_until_us=0)

    assert (DAY_US + counted_us, 3) == (restored.failed_for_us, restored.failures)


def test_failing_is_told_as_it_grows() -> None:
    """A successor would begin with the first failure, days ago."""
    health = EndpointHealth()
    health.fail(NOW_US, 0, error="E", opened_until_us=0)
    tell(health, NOW_US)
    health.fail(NOW_US, TELL_GROWTH_US // 2, error="E", opened_until_us=0)
    is_dirty_early = health.is_dirty
    health.fail(NOW_US, TELL_GROWTH_US, error="E", opened_until_us=0)

    assert (False, True) == (is_dirty_early, health.is_dirty)


def test_healthy_endpoints_have_nothing_to_tell() -> None:
    """Successes of an endpoint that never failed write nothing."""
    health = EndpointHealth()
    health.succeed()

    assert not health.should_tell(10 * TELL_INTERVAL_US)


def test_an_expiring_certificate_is_told_once_a_day() -> None:
    """The warning comes once, however many connections are made, and whatever else is published of the endpoint."""
    health, warned_at_us = EndpointHealth(), []
    for now_us in range(NOW_US, NOW_US + 3 * WARN_INTERVAL_US, WARN_INTERVAL_US // 24):
        health.see_expiry(now_us, NOW_US + 9 * DAY_US)
        health.fail(now_us, now_us, error="E", opened_until_us=0)
        health.succeed()
        if is_certificate_warning(tell(health, now_us)):
            warned_at_us.append(now_us)

    assert [NOW_US + day * WARN_INTERVAL_US for day in range(3)] == warned_at_us


@pytest.mark.parametrize("endpoint_version", [3, 4])
def test_a_successor_does_not_warn_again(endpoint_version: int) -> None:
    """A change of the endpoint makes it no new day either; later states say when the warning was."""
    health = EndpointHealth()
    health.see_expiry(NOW_US, NOW_US + 9 * DAY_US)
    restored = restore_health(tell(health, NOW_US), endpoint_version=endpoint_version, now_us=NOW_US)
    restored.see_expiry(NOW_US + DAY_US - 1, NOW_US + 9 * DAY_US)
    has_warned = restored.is_warning
    restored.fail(NOW_US + DAY_US - 1, NOW_US + DAY_US - 1, error="E", opened_until_us=0)
    later = tell(restored, NOW_US + DAY_US - 1)
    restored.see_expiry(NOW_US + DAY_US, NOW_US + 9 * DAY_US)

    assert not has_warned
    assert (NOW_US, NOW_US + 9 * DAY_US) == (later.certificate_warned_at_us, later.certificate_expires_at_us)
    assert not is_certificate_warning(later)
    assert restored.is_warning


def test_a_warning_that_is_told_again_is_the_same_event() -> None:
    """A crash between publishing and committing repeats the event; tomorrow's is another."""
    health = EndpointHealth()
    health.see_expiry(NOW_US, NOW_US + 9 * DAY_US)
    today = tell(health, NOW_US)
    health.see_expiry(NOW_US + DAY_US, NOW_US + 9 * DAY_US)
    tomorrow = tell(health, NOW_US + DAY_US)
    first, again, other = [describe_certificate_expiring(each, now_us=1) for each in (today, today, tomorrow)]

    assert first == again
    assert first.event_id != other.event_id


@pytest.mark.parametrize(
    ("life_days", "left_days", "expected"),
    [(365, 15, False), (365, 13, True), (90, 13, True), (6, 5, False), (6, 3, False), (6, 1, True), (90, -1, True)],
)
def test_a_certificate_is_renewed_in_time_or_it_is_expiring(life_days: int, left_days: int, expected: bool) -> None:
    """Two weeks before its end, or in the last third of a short life."""
    expires_at_us = NOW_US + left_days * DAY_US
    begins_at_us = expires_at_us - life_days * DAY_US

    assert expected == is_expiring(NOW_US, begins_at_us=begins_at_us, expires_at_us=expires_at_us, warn_us=14 * DAY_US)
