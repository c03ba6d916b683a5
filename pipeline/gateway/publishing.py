"""From PostgreSQL to the log: a change is answered only after every stage can know of it.

The order is what makes "the very next event" exact: the change is committed, then the snapshot and the changed
endpoints are in their topics, then the marker is in the events topic, and only then the client hears of it. What a
crash leaves unpublished is found and published again by any gateway.
"""

import asyncio
import time
from datetime import datetime

import structlog

from pipeline.core.records import Endpoint, Routes, RoutesChanged, to_bytes
from pipeline.gateway.problems import Problem
from pipeline.kafka.producer import KafkaUnavailableError, LogProducer
from pipeline.kafka.routes_view import RoutesView
from pipeline.postgres.pool import DatabaseUnavailable, Pool
from pipeline.postgres.snapshots import Snapshot, list_unpublished, lock_snapshot
from pipeline.postgres.subscriptions import Subscription
from pipeline.topics import Topics

REPAIR_INTERVAL_S = 5.0
VIEW_WAIT_S = 2.0
SECOND_US = 1_000_000

log = structlog.get_logger()


class Publisher:
    """Publishes applications. One per process."""

    def __init__(self, pool: Pool, producer: LogProducer, topics: Topics, routes: RoutesView | None = None) -> None:
        """`routes`: our own view, when what is published is to be waited for."""
        self._pool = pool
        self._producer = producer
        self._topics = topics
        self._routes = routes

    async def publish(self, application_id: str) -> None:
        """Publish what was changed, and wait until this gateway itself knows. Raises `Problem` when it cannot be done.

        The change stays and is published as soon as it can be.
        """
        try:
            version = await self.publish_or_raise(application_id)
        except (KafkaUnavailableError, *DatabaseUnavailable) as error:
            log.warning("publish_failed", application_id=application_id, reason=str(error))
            detail = "The change was saved and takes effect as soon as it can be published; look before you repeat it."
            raise Problem("ServiceUnavailable", detail=detail) from error
        if version is not None and self._routes is not None:
            await self._routes.wait_for(application_id, version, VIEW_WAIT_S)

    async def repair_regularly(self) -> None:
        """Runs for ever: publish what a crash, or an outage, left unpublished."""
        while True:
            try:
                for application_id in await list_unpublished(self._pool):
                    if await self.publish_or_raise(application_id) is not None:
                        log.info("republished", application_id=application_id)
            except (KafkaUnavailableError, *DatabaseUnavailable) as error:
                log.warning("repair_waits", reason=str(error))
            await asyncio.sleep(REPAIR_INTERVAL_S)

    async def publish_or_raise(self, application_id: str) -> int | None:
        """The version that was published; None when there was nothing to publish. Raises what went wrong."""
        async with lock_snapshot(self._pool, application_id) as snapshot:
            if snapshot is None:
                return None
            now_us = time.time_ns() // 1000
            routes = describe_routes(snapshot, changed_at_us=now_us)
            records = [(self._topics.routes, application_id.encode(), to_bytes(routes))]
            records += [
                (self._topics.endpoints, subscription.subscription_id.encode(), to_bytes(endpoint))
                for subscription in snapshot.changed
                for endpoint in [describe_endpoint(subscription, snapshot)]
            ]
            await self._producer.send_bytes(records)
            marker = RoutesChanged(application_id=application_id, routes_version=snapshot.version, changed_at_us=now_us)
            await self._producer.send(self._topics.events, application_id, marker)
            return snapshot.version


def describe_routes(snapshot: Snapshot, *, changed_at_us: int) -> Routes:
    """The record for the routes topic."""
    return Routes(
        application_id=snapshot.application_id,
        organization_id=snapshot.organization_id,
        version=snapshot.version,
        changed_at_us=changed_at_us,
        deleted=snapshot.deleted,
        event_types=snapshot.event_types,
        subscriptions=[
            {
                "subscription_id": subscription.subscription_id,
                "enabled": subscription.content.is_enabled,
                "event_types": list(subscription.content.event_types),
                "labels": subscription.content.labels,
            }
            for subscription in snapshot.subscriptions
        ],
        secret_hashes=snapshot.secret_hashes,
    )


def describe_endpoint(subscription: Subscription, snapshot: Snapshot) -> Endpoint:
    """The record for the endpoints topic."""
    content = subscription.content
    delivery = content.delivery
    return Endpoint(
        subscription_id=subscription.subscription_id,
        application_id=subscription.application_id,
        version=snapshot.version,
        enabled=content.is_enabled,
        deleted=subscription.deleted_at is not None or snapshot.deleted,
        cancel_before_us=_to_us(subscription.cancelled_before),
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
        retry_delays_s=list(delivery.retry_delays_s) if delivery.retry_delays_s is not None else None,
        rate_per_s=delivery.rate_per_s,
        concurrency_max=delivery.concurrency_max,
        total_timeout_s=delivery.total_timeout_s,
        connect_timeout_s=delivery.connect_timeout_s,
        gives_up_on_client_errors=delivery.gives_up_on_client_errors,
        tls_ca_pem=delivery.tls_ca_pem,
        tls_client_cert_pem=delivery.tls_client_cert_pem,
        tls_client_key={"key_id": content.client_key.key_id, "sealed": content.client_key.sealed}
        if content.client_key is not None
        else None,
    )


def _to_us(at: datetime | None) -> int:
    return 0 if at is None else round(at.timestamp() * SECOND_US)
