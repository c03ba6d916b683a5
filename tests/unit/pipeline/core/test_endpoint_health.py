from pipeline.core.endpoint_health import FAILING, TELL_INTERVAL_US, EndpointHealth, restore_health
from pipeline.core.records import EndpointState


def tell(health: EndpointHealth, now_us: int) -> EndpointState:
    return health.tell(now_us, subscription_id="s", application_id="a", endpoint_version=3)


def test_the_first_failure_is_told_and_counts_from_then() -> None:
    """Since when an endpoint fails is the first failure after a success, whatever comes between."""
    health = EndpointHealth()
    health.fail(10_000_000, error="E_TIMEOUT: x", opened_until_us=0)
    health.fail(12_000_000, error="E_TIMEOUT: y", opened_until_us=0)

    assert health.should_tell(12_000_000)
    assert 5_000_000 == health.has_failed_for_us(15_000_000)
    assert "E_TIMEOUT: y" == tell(health, 12_000_000).last_error
    health.succeed()
    assert 0 == health.has_failed_for_us(15_000_000)


def test_a_flapping_endpoint_does_not_fill_the_log() -> None:
    """However often it changes, it is told every few seconds at most; what is urgent does not wait."""
    health = EndpointHealth()
    told = 0
    for now_us in range(TELL_INTERVAL_US, 5 * TELL_INTERVAL_US, 10_000):
        health.fail(now_us, error="E", opened_until_us=0)
        health.succeed()
        if health.should_tell(now_us):
            tell(health, now_us)
            told += 1

    assert 4 == told
    health.ask_to_disable(FAILING)
    assert health.should_tell(5 * TELL_INTERVAL_US)


def test_a_successor_goes_on_where_it_was() -> None:
    """A process that takes an endpoint over knows since when it has failed."""
    health = EndpointHealth()
    health.fail(10, error="E", opened_until_us=99)
    restored = restore_health(tell(health, TELL_INTERVAL_US))

    assert (10, 99, "E") == (restored.failing_since_us, restored.opened_until_us, restored.last_error)
    assert not restored.should_tell(10 * TELL_INTERVAL_US)


def test_healthy_endpoints_have_nothing_to_tell() -> None:
    """Successes of an endpoint that never failed write nothing."""
    health = EndpointHealth()
    health.succeed()

    assert not health.should_tell(10 * TELL_INTERVAL_US)
