"""Events that Hookline itself sends into an application, so that its owner hears of them by webhook like of any other.

Their types need not be created, and cannot be: names that start with `hookline.` are ours. A subscription selects them
by type and by the label below.
"""

import json
from uuid import NAMESPACE_URL, uuid5

from pipeline.core.event import JSON_TYPE
from pipeline.core.records import EndpointState, Event

RESERVED_PREFIX = "hookline."
SUBSCRIPTION_DISABLED = "hookline.subscription.disabled"
OPERATIONAL_TYPES = frozenset({SUBSCRIPTION_DISABLED})
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
    return Event(
        application_id=state.application_id,
        event_id=str(uuid5(NAMESPACE_URL, name)),
        event_type=SUBSCRIPTION_DISABLED,
        payload=json.dumps(payload).encode(),
        payload_content_type=JSON_TYPE,
        labels=LABELS | {"subscription_id": state.subscription_id},
        occurred_at_us=state.changed_at_us,
        received_at_us=now_us,
    )
