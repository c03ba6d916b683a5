"""Disabling cancels deliveries that were matched before it, whatever the clocks say."""

import msgspec
import pytest

from pipeline.core.events.records import Delivery, Endpoint
from pipeline.core.retries.cancelling import is_cancelled

NOW_US, FAR_US = 1_790_000_000_000_000, 3_600_000_000


def make_delivery(routes_version: int, *, asked_at_us: int = 0) -> Delivery:
    return Delivery(
        delivery_id="d",
        subscription_id="s",
        application_id="a",
        event_id="e",
        event_type="a.b.c",
        payload=b"",
        payload_content_type="text/plain",
        appended_at_us=NOW_US,
        received_at_us=NOW_US,
        matched_at_us=NOW_US,
        asked_at_us=asked_at_us,
        routes_version=routes_version,
    )


def make_endpoint(cancel_before_version: int, cancel_before_us: int, *, deleted: bool = False) -> Endpoint:
    return Endpoint(
        subscription_id="s",
        application_id="a",
        version=9,
        enabled=True,
        deleted=deleted,
        cancel_before_us=cancel_before_us,
        cancel_before_version=cancel_before_version,
        method="POST",
        url="https://x.test/",
        headers={},
        secrets=[],
    )


@pytest.mark.parametrize("cancel_before_us", [NOW_US - FAR_US, NOW_US, NOW_US + FAR_US])
def test_order_is_that_of_versions(cancel_before_us: int) -> None:
    """Disabled with version 5 and enabled again: what was matched with 5 or later is delivered, by any clock."""
    endpoint = make_endpoint(5, cancel_before_us)

    assert [True, False, False] == [is_cancelled(make_delivery(version), endpoint) for version in (4, 5, 6)]


@pytest.mark.parametrize(("routes_version", "cancel_before_version"), [(0, 5), (4, 0), (0, 0)])
def test_time_where_a_version_is_not_known(routes_version: int, cancel_before_version: int) -> None:
    """Records of processes that are not replaced yet."""
    delivery = make_delivery(routes_version)

    assert is_cancelled(delivery, make_endpoint(cancel_before_version, NOW_US + 1))
    assert not is_cancelled(delivery, make_endpoint(cancel_before_version, NOW_US))
    assert not is_cancelled(delivery, make_endpoint(cancel_before_version, 0))
    asked = make_delivery(routes_version, asked_at_us=NOW_US + FAR_US)
    assert not is_cancelled(asked, make_endpoint(cancel_before_version, NOW_US + 1))


def test_deleted() -> None:
    """Deleting cancels every delivery."""
    assert is_cancelled(make_delivery(7), make_endpoint(0, 0, deleted=True))


def test_what_a_person_asked_for_of_this_subscription() -> None:
    """A requested attempt is made though the subscription was disabled later; not when it is deleted."""
    forced = msgspec.structs.replace(make_delivery(4), is_forced=True)

    assert not is_cancelled(forced, make_endpoint(5, NOW_US + FAR_US))
    assert is_cancelled(forced, make_endpoint(0, 0, deleted=True))
