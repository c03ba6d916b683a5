"""Endpoints and deliveries made to order, for tests of the way out."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from connectors.http.client.exchange import Request
from connectors.http.message import Signing, build_request
from connectors.http.target import compile_target
from pipeline.core.events.records import Bundle, Delivery, Endpoint, EndpointState
from pipeline.core.signing.sealing import Sealer

SECRET = "4f8c1c3e-6f3b-4a57-9b1c-0d6d3d0a8f11"
SUBSCRIPTION_ID = str(UUID(int=2))
APPLICATION_ID = str(UUID(int=1))
SEALER = Sealer([("test", bytes(range(32)))])
SIGNING = Signing(header="X-Hook0-Signature", versions=("v1",))
NOW_US = 1_795_500_460_000_000


def make_endpoint(
    url: str, *, secrets: tuple[tuple[str, int | None], ...] = ((SECRET, None),), **fields: Any
) -> Endpoint:
    """`secrets`: (secret, valid until, in microseconds) each. `fields`: of the record, as they are."""
    sealed = [
        (SEALER.seal(secret.encode(), context=SUBSCRIPTION_ID, nonce=bytes([number] * 12)), valid_until_us)
        for number, (secret, valid_until_us) in enumerate(secrets)
    ]
    plain: dict[str, Any] = {
        "subscription_id": SUBSCRIPTION_ID,
        "application_id": APPLICATION_ID,
        "version": 1,
        "enabled": True,
        "deleted": False,
        "method": "POST",
        "url": url,
        "headers": {},
        "secrets": [
            {"key_id": each.key_id, "sealed": each.sealed, "valid_until_us": valid_until_us}
            for each, valid_until_us in sealed
        ],
    }
    return Endpoint(**plain | fields)


def make_delivery(**fields: Any) -> Delivery:
    """`fields`: of the record."""
    plain: dict[str, Any] = {
        "delivery_id": str(UUID(int=3)),
        "subscription_id": SUBSCRIPTION_ID,
        "application_id": APPLICATION_ID,
        "event_id": str(UUID(int=4)),
        "event_type": "billing.invoice.paid",
        "payload": b'{"n":1}',
        "payload_content_type": "application/json",
        "appended_at_us": NOW_US,
        "received_at_us": NOW_US,
        "matched_at_us": NOW_US,
    }
    return Delivery(**plain | fields)


def make_bundle(subscription_ids: Iterable[str], **fields: Any) -> Bundle:
    """A bundle of first attempts to these subscriptions; `fields`: of the record."""
    plain: dict[str, Any] = {
        "application_id": APPLICATION_ID,
        "event_id": str(UUID(int=4)),
        "event_type": "billing.invoice.paid",
        "payload": b'{"n":1}',
        "payload_content_type": "application/json",
        "appended_at_us": NOW_US,
        "received_at_us": NOW_US,
        "matched_at_us": NOW_US,
        "routes_version": 3,
        "content_crc32": 1,
        "payload_partition": -1,
        "payload_offset": -1,
        "payload_bytes": 0,
        "subscriptions": [{"subscription_id": each} for each in subscription_ids],
    }
    return Bundle(**plain | fields)


def make_request(url: str, **fields: Any) -> Request:
    """A delivery to `url`, as the http sink would send it. Raises AssertionError when the URL cannot be read."""
    target = compile_target(make_endpoint(url, **fields), SEALER)
    assert target.problem is None, target.problem
    delivery = make_delivery()
    request, _ = build_request(delivery, target, SIGNING, payload=delivery.payload, signed_at_us=NOW_US)
    return request


def make_gone_state(application_id: str, subscription_id: str) -> EndpointState:
    """The state that deliver publishes of an endpoint that is gone, in its first version."""
    return EndpointState(
        subscription_id=subscription_id,
        application_id=application_id,
        endpoint_version=1,
        changed_at_us=1,
        failing_since_us=1,
        opened_until_us=0,
        last_error=None,
        disable_reason="gone",
    )
