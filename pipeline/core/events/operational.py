"""Events that Hookline itself sends into an application, so that its owner hears of them by webhook like of any other.

Their types need not be created, and cannot be: names that start with `hookline.` are ours. A subscription selects them
by type and by the label below.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import date
from uuid import NAMESPACE_URL, uuid5

from pipeline.core.events.content_types import JSON_TYPE
from pipeline.core.events.moments import show_moment
from pipeline.core.events.records import EndpointState, Event
from pipeline.core.log.checksum import sum_content

RESERVED_PREFIX = "hookline."
SUBSCRIPTION_DISABLED = "hookline.subscription.disabled"
CERTIFICATE_EXPIRING = "hookline.subscription.certificate_expiring"
TEST = "hookline.test"
SUBSCRIPTION_FAILING = "hookline.subscription.failing"
SUBSCRIPTION_RECOVERED = "hookline.subscription.recovered"
CHANGES = frozenset(
    f"{RESERVED_PREFIX}{resource}.{action}"
    for resource in ("application", "subscription")
    for action in ("created", "changed", "deleted")
)
DELIVERY_EXHAUSTED = "hookline.delivery.exhausted"
ATTEMPT_FAILING = "hookline.attempt.failing"
QUOTA_NEAR = "hookline.quota.near"
QUOTA_REACHED = "hookline.quota.reached"
OPERATIONAL_TYPES = CHANGES | {
    SUBSCRIPTION_DISABLED,
    SUBSCRIPTION_FAILING,
    SUBSCRIPTION_RECOVERED,
    CERTIFICATE_EXPIRING,
    DELIVERY_EXHAUSTED,
    ATTEMPT_FAILING,
    QUOTA_NEAR,
    QUOTA_REACHED,
    TEST,
}
LABELS = {"hookline": "operational"}


def describe_disabled(state: EndpointState, *, now_us: int) -> Event:
    """The event that tells of a subscription we disabled. Told again for the same endpoint version: the same id."""
    payload = {
        "subscription_id": state.subscription_id,
        "reason": state.disable_reason,
        "failing_since_us": state.failing_since_us or None,
        "last_error": state.last_error,
    }
    name = f"{SUBSCRIPTION_DISABLED}/{state.subscription_id}/{state.endpoint_version}"
    return _make_of_subscription(state, SUBSCRIPTION_DISABLED, name, payload, now_us)


def is_certificate_warning(state: EndpointState) -> bool:
    """Is this the record that makes the warning that the certificate expires due? Later ones only repeat it."""
    return 0 < state.certificate_warned_at_us == state.changed_at_us


def describe_certificate_expiring(state: EndpointState, *, now_us: int) -> Event:
    """The event that tells of an endpoint's certificate that expires soon. Told again for the same record: the same
    id.
    """
    payload = {
        "subscription_id": state.subscription_id,
        "certificate_expires_at_us": state.certificate_expires_at_us,
    }
    name = f"{CERTIFICATE_EXPIRING}/{state.subscription_id}/{state.certificate_warned_at_us}"
    return _make_of_subscription(state, CERTIFICATE_EXPIRING, name, payload, now_us)


def describe_test(application_id: str, subscription_id: str, event_id: str, payload: bytes, *, now_us: int) -> Event:
    """An event that shows an endpoint's owner what a delivery looks like."""
    return Event(
        application_id=application_id,
        event_id=event_id,
        event_type=TEST,
        payload=payload,
        payload_content_type=JSON_TYPE,
        labels={"hookline": "test", "subscription_id": subscription_id},
        occurred_at_us=now_us,
        received_at_us=now_us,
        content_crc32=sum_content(event_id, TEST, JSON_TYPE, payload),
    )


def describe_failing(
    application_id: str, subscription_id: str, *, since_us: int, disable_after_s: float, now_us: int
) -> Event:
    """The warning before a subscription is disabled. Told again for the same failure: the same id and content."""
    payload = {"subscription_id": subscription_id, "failing_since_us": since_us, "disable_after_s": disable_after_s}
    name = f"{SUBSCRIPTION_FAILING}/{subscription_id}/{since_us}"
    labels = {"subscription_id": subscription_id}
    return _make_event(
        application_id, SUBSCRIPTION_FAILING, name, payload, occurred_at_us=now_us, now_us=now_us, labels=labels
    )


def describe_recovered(application_id: str, subscription_id: str, *, since_us: int, now_us: int) -> Event:
    """A subscription whose owner was warned does not fail any more."""
    payload = {"subscription_id": subscription_id, "failing_since_us": since_us}
    name = f"{SUBSCRIPTION_RECOVERED}/{subscription_id}/{since_us}"
    labels = {"subscription_id": subscription_id}
    return _make_event(
        application_id, SUBSCRIPTION_RECOVERED, name, payload, occurred_at_us=now_us, now_us=now_us, labels=labels
    )


def describe_exhausted(
    application_id: str,
    *,
    dead_id: str,
    subscription_id: str,
    delivery_id: str,
    event_id: str | None,
    reason: str,
    died_at_us: int,
    now_us: int,
) -> Event:
    """A delivery was given up: this is its dead letter. Told again: the same id and content."""
    payload = {
        "subscription_id": subscription_id,
        "delivery_id": delivery_id,
        "event_id": event_id,
        "dead_id": dead_id,
        "reason": reason,
    }
    name = f"{DELIVERY_EXHAUSTED}/{application_id}/{dead_id}"
    labels = {"subscription_id": subscription_id}
    return _make_event(
        application_id, DELIVERY_EXHAUSTED, name, payload, occurred_at_us=died_at_us, now_us=now_us, labels=labels
    )


def describe_attempt_failing(
    application_id: str,
    *,
    attempt_id: str,
    subscription_id: str,
    delivery_id: str,
    event_id: str,
    attempts: int,
    error: str | None,
    response_status: int | None,
    failed_at_us: int,
    next_attempt_at_us: int,
    now_us: int,
) -> Event:
    """A delivery has failed several times, and is tried again. Told again: the same id and content."""
    payload = {
        "subscription_id": subscription_id,
        "delivery_id": delivery_id,
        "event_id": event_id,
        "request_attempt_id": attempt_id,
        "attempts": attempts,
        "error": error,
        "http_response_status": response_status,
        "next_attempt_at": show_moment(next_attempt_at_us),
    }
    name = f"{ATTEMPT_FAILING}/{application_id}/{attempt_id}"
    labels = {"subscription_id": subscription_id}
    return _make_event(
        application_id, ATTEMPT_FAILING, name, payload, occurred_at_us=failed_at_us, now_us=now_us, labels=labels
    )


def describe_change(
    application_id: str,
    *,
    audit_id: int,
    resource: str,
    resource_id: str,
    action: str,
    changed: Sequence[str],
    actor: Mapping[str, str | None],
    changed_at_us: int,
    now_us: int,
) -> Event:
    """An application or a subscription was created, changed or deleted. `changed`: names of its changed fields."""
    event_type = f"{RESERVED_PREFIX}{resource}.{action}"
    payload = {f"{resource}_id": resource_id, "changed": changed, "actor": actor, "audit_id": audit_id}
    labels = {"subscription_id": resource_id} if resource == "subscription" else {}
    name = f"{event_type}/{application_id}/{audit_id}"
    return _make_event(
        application_id, event_type, name, payload, occurred_at_us=changed_at_us, now_us=now_us, labels=labels
    )


def describe_quota(application_id: str, *, percent: int, limit: int, day: date, now_us: int) -> Event:
    """The event that says how much of the daily quota is used up. Gateways make the same one: same id, same content."""
    event_type = QUOTA_REACHED if percent >= 100 else QUOTA_NEAR
    payload = {"quota": "events_per_day", "percent": percent, "limit": limit, "day": day.isoformat()}
    name = f"{event_type}/{application_id}/{day}/{percent}"
    return _make_event(application_id, event_type, name, payload, occurred_at_us=now_us, now_us=now_us)


def _make_of_subscription(
    state: EndpointState, event_type: str, name: str, payload: Mapping[str, object], now_us: int
) -> Event:
    return _make_event(
        state.application_id,
        event_type,
        name,
        payload,
        occurred_at_us=state.changed_at_us,
        now_us=now_us,
        labels={"subscription_id": state.subscription_id},
    )


def _make_event(
    application_id: str,
    event_type: str,
    name: str,
    payload: Mapping[str, object],
    *,
    occurred_at_us: int,
    now_us: int,
    labels: Mapping[str, str] | None = None,
) -> Event:
    event_id, body = str(uuid5(NAMESPACE_URL, name)), json.dumps(payload).encode()
    return Event(
        application_id=application_id,
        event_id=event_id,
        event_type=event_type,
        payload=body,
        payload_content_type=JSON_TYPE,
        labels=LABELS | dict(labels or {}),
        occurred_at_us=occurred_at_us,
        received_at_us=now_us,
        content_crc32=sum_content(event_id, event_type, JSON_TYPE, body),
    )
