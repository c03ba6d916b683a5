from typing import Any

from pipeline.core.events.records import Endpoint
from pipeline.core.routing.endpoints import Endpoints

DAY_US = 86_400 * 1_000_000
RETENTION_S = 7 * 86_400


def make(subscription_id: str, version: int = 1, **fields: Any) -> Endpoint:
    usual: dict[str, Any] = {
        "application_id": "a",
        "enabled": True,
        "deleted": False,
        "method": "POST",
        "url": "https://example.com/",
        "headers": {"a": "b"},
        "secrets": [{"key_id": "k", "sealed": b"s", "valid_until_us": None}],
        "tls_ca_pem": "pem",
    }
    return Endpoint(subscription_id=subscription_id, version=version, **usual | fields)


def test_the_newest_version_counts() -> None:
    """A record published again, or late, changes nothing."""
    endpoints = Endpoints(event_retention_s=RETENTION_S)
    for version in (2, 1, 3, 3, 2):
        endpoints.apply(make("s", version), 0)

    assert make("s", 3) == endpoints.get("s")
    assert 1 == len(endpoints)


def test_a_deleted_one_keeps_nothing_secret() -> None:
    """A deleted endpoint still says that it is deleted, so that waiting deliveries are cancelled."""
    endpoints = Endpoints(event_retention_s=RETENTION_S)
    endpoints.apply(make("s"), 0)
    endpoints.apply(make("s", 2, deleted=True), 1)
    kept = endpoints.get("s")

    assert kept is not None
    assert (True, "https://example.com/", {}, [], None) == (
        kept.deleted,
        kept.url,
        kept.headers,
        kept.secrets,
        kept.tls_ca_pem,
    )
    assert [] == list(endpoints.list_active())


def test_deleted_ones_are_forgotten_when_nothing_can_wait_for_them() -> None:
    """Years of subscriptions that come and go do not add up; those of the last weeks are known."""
    endpoints = Endpoints(event_retention_s=RETENTION_S)
    endpoints.apply(make("stays"), 0)
    for day in range(2000):
        endpoints.apply(make(f"s{day}"), day * DAY_US)
        endpoints.apply(make(f"s{day}", 2, deleted=True), day * DAY_US)
        assert f"s{day}" in endpoints
        assert day < 21 or f"s{day - 21}" in endpoints

    assert 23 == len(endpoints)
    assert endpoints.get("stays") is not None


def test_one_that_came_back_is_not_forgotten() -> None:
    """A newer record than the one that said deleted: a restored database, for example."""
    endpoints = Endpoints(event_retention_s=RETENTION_S)
    endpoints.apply(make("s", 2, deleted=True), 0)
    endpoints.apply(make("s", 3), 1)
    endpoints.apply(make("other"), 365 * DAY_US)

    assert make("s", 3) == endpoints.get("s")


def test_a_record_without_a_value_removes_it() -> None:
    """Removing an unknown endpoint is no error."""
    endpoints = Endpoints(event_retention_s=RETENTION_S)
    endpoints.apply(make("s"), 0)
    endpoints.remove("s")
    endpoints.remove("t")

    assert endpoints.get("s") is None
