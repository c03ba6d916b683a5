"""Events that Hookline itself sends into an application, so that its owner hears of them by webhook like of any other.

Their types need not be created, and cannot be: names that start with `hookline.` are ours. A subscription selects them
by type and by the label below.
"""

import json
from collections.abc import Mapping
from uuid import NAMESPACE_URL, uuid5

from pipeline.core.checksum import sum_content
from pipeline.core.content_types import JSON_TYPE
from pipeline.core.records import EndpointState, Event

RESERVED_PREFIX = "hookline."
SUBSCRIPTION_DISABLED = "hookline.subscription.disabled"
CERTIFICATE_EXPIRING = "hookline.subscription.certificate_expiring"
TEST = "hookline.test"
OPERATIONAL_TYPES = frozenset({SUBSCRIPTION_DISABLED, CERTIFICATE_EXPIRING, TEST})
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
    return _make_event(state, SUBSCRIPTION_DISABLED, name, payload, now_us)


def is_certificate_warning(state: EndpointState) -> bool:
    """Is this the record by which the owner is to be told that the certificate expires? Later ones only repeat it."""
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
    return _make_event(state, CERTIFICATE_EXPIRING, name, payload, now_us)


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


def _make_event(state: EndpointState, event_type: str, name: str, payload: Mapping[str, object], now_us: int) -> Event:
    event_id, body = str(uuid5(NAMESPACE_URL, name)), json.dumps(payload).encode()
    return Event(
        application_id=state.application_id,
        event_id=event_id,
        event_type=event_type,
        payload=body,
        payload_content_type=JSON_TYPE,
        labels=LABELS | {"subscription_id": state.subscription_id},
        occurred_at_us=state.changed_at_us,
        received_at_us=now_us,
        content_crc32=sum_content(event_id, event_type, JSON_TYPE, body),
    )
