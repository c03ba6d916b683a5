"""The records that a publication consists of: parts of the routes, endpoints, and the head that makes them apply."""

from datetime import datetime

from msgspec.structs import replace

from pipeline.core.events.moments import to_us
from pipeline.core.events.records import Endpoint, RoutesHead, RoutesPart
from pipeline.postgres.control.publications import ChangedName, ChangedSubscription, Publication
from pipeline.postgres.control.subscriptions import Subscription

KEYS = {"subscription": "s", "event_type": "t", "secret": "k"}


def name_part(application_id: str, kind: str, name: str) -> bytes:
    """The key of a part."""
    return f"{application_id}/{KEYS[kind]}/{name}".encode()


def describe_rule(changed: ChangedSubscription) -> RoutesPart:
    """The part of a subscription that matching needs."""
    subscription = changed.subscription
    content = subscription.content
    return RoutesPart(
        application_id=subscription.application_id,
        kind="subscription",
        name=subscription.subscription_id,
        created_version=changed.created_version,
        version=changed.changed_version,
        enabled=content.is_enabled,
        event_types=list(content.event_types),
        labels=content.labels,
        payload_filter=content.payload_filter,
    )


def describe_name(application_id: str, kind: str, changed: ChangedName) -> RoutesPart:
    """An event type or a secret."""
    return RoutesPart(
        application_id=application_id,
        kind=kind,
        name=changed.name,
        created_version=changed.created_version,
        version=changed.changed_version,
        payload_schema=changed.payload_schema,
        schema_mode=changed.schema_mode,
        schema_version=changed.schema_version,
    )


def describe_head(publication: Publication, *, changed_at_us: int) -> RoutesHead:
    return RoutesHead(
        application_id=publication.application_id,
        organization_id=publication.organization_id,
        version=publication.version,
        change_id=publication.change_id,
        changed_at_us=changed_at_us,
        deleted=publication.deleted,
        control_plane_id=publication.control_plane_id,
        epoch=publication.epoch,
    )


def describe_endpoint(subscription: Subscription, *, version: int, deleted: bool) -> Endpoint:
    """The facts needed to send to a subscription. `deleted`: its application is deleted."""
    content = subscription.content
    delivery = content.delivery
    scheduled_s = subscription.schedule_delays_s
    delays_s = scheduled_s if scheduled_s is not None else delivery.retry_delays_s
    return Endpoint(
        subscription_id=subscription.subscription_id,
        application_id=subscription.application_id,
        version=version,
        enabled=content.is_enabled,
        deleted=subscription.deleted_at is not None or deleted,
        cancel_before_us=_to_us(subscription.cancelled_before),
        cancel_before_version=subscription.cancelled_before_version,
        held_until_us=_to_us(subscription.held_until),
        method=content.method,
        url=content.url,
        headers=content.headers,
        secrets=[
            {
                "key_id": secret.key_id,
                "sealed": secret.sealed,
                "valid_until_us": _to_us(secret.valid_until) if secret.valid_until is not None else None,
            }
            for secret in subscription.secrets
        ],
        retry_delays_s=list(delays_s) if delays_s is not None else None,
        rate_per_s=delivery.rate_per_s,
        concurrency_max=delivery.concurrency_max,
        total_timeout_s=delivery.total_timeout_s,
        connect_timeout_s=delivery.connect_timeout_s,
        gives_up_on_client_errors=delivery.gives_up_on_client_errors,
        event_format=delivery.event_format,
        tls_ca_pem=delivery.tls_ca_pem,
        tls_client_cert_pem=delivery.tls_client_cert_pem,
        tls_client_key={"key_id": content.client_key.key_id, "sealed": content.client_key.sealed}
        if content.client_key is not None
        else None,
    )


def end_endpoint(endpoint: Endpoint, version: int) -> Endpoint:
    """A deleted endpoint: nothing is sent to it any more."""
    return replace(endpoint, version=version, deleted=True, enabled=False)


def _to_us(at: datetime | None) -> int:
    return 0 if at is None else to_us(at)
