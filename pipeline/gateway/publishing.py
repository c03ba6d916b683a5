"""Changes go from PostgreSQL to the log: each is answered only after every stage can know of it.

The order is what makes "the very next event" exact: the change is committed, then what changed and the head that makes
it apply are in their topics, then the marker is in the events topic, and only then the client hears of it. What a crash
leaves unpublished is found and published again by any gateway.

What a client hears: 503 before anything is saved when Kafka is known to be away, or when the change could never be
published; 503 that says so when it was saved and Kafka did not answer.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from uuid import uuid4
from weakref import WeakValueDictionary

import structlog

from pipeline.clock import wall_us
from pipeline.core.events.records import RoutesChanged, to_bytes
from pipeline.gateway.ghosts import Ghosts
from pipeline.gateway.problems import Problem
from pipeline.gateway.published_records import (
    describe_endpoint,
    describe_head,
    describe_name,
    describe_rule,
    name_part,
)
from pipeline.kafka.producer import KafkaUnavailableError, LogProducer
from pipeline.kafka.routes_view import RoutesView
from pipeline.metrics import Metrics
from pipeline.pauses import Pauses
from pipeline.postgres.control import publications
from pipeline.postgres.control.publications import BUSY, LogState, Publication
from pipeline.postgres.pool import DatabaseFailed, DatabaseUnavailable, Pool
from pipeline.topics import Topic, Topics

REPAIR_INTERVAL_S = 5.0
VIEW_WAIT_S = 2.0  # for this gateway's own view of what was published
# Longer than the acknowledgements of one portion can take; a gateway that was killed holds an application up so long.
LEASE_S = 15.0
BUSY_WAIT_S = 20.0
BUSY_POLL_S = 0.02
PORTION_MAX_BYTES = 4 * 1024 * 1024
PORTION_MAX_RECORDS = 2000

Written = tuple[Topic, bytes, bytes | None]
log = structlog.get_logger()


class LeaseLostError(Exception):
    """Writing took so long that another gateway published meanwhile; all is published again."""


class Publisher:
    """Publishes applications. One per process."""

    def __init__(
        self,
        pool: Pool,
        producer: LogProducer,
        topics: Topics,
        ghosts: Ghosts,
        metrics: Metrics,
        *,
        routes: RoutesView | None = None,
        check_log: Callable[[], str | None] = lambda: None,
        clock_us: Callable[[], int] = wall_us,
    ) -> None:
        """`ghosts`: of what the log has and the database does not. `check_log`: why Kafka takes nothing.

        `routes`: this gateway's view, when a publication must wait until the view has it.
        """
        self._pool = pool
        self._producer = producer
        self._topics = topics
        self._ghosts = ghosts
        self._metrics = metrics
        self._routes = routes
        self._check_log = check_log
        self._clock_us = clock_us
        self._lease = str(uuid4())
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def require_log(self) -> None:
        """Check that a change could be published now. Raises `Problem` if not, so that it is not saved."""
        problem = self._check_log()
        if problem is not None:
            raise Problem("ServiceUnavailable", detail=f"Nothing was changed: {problem}.")

    async def publish(self, application_id: str) -> None:
        """Publish a change, and wait until this gateway's own view has it. Raises `Problem` when that fails.

        The change stays and is published as soon as it can be.
        """
        try:
            version = await self.publish_or_raise(application_id)
        except (KafkaUnavailableError, LeaseLostError, *DatabaseFailed) as error:
            log.warning("publish_failed", application_id=application_id, reason=str(error))
            detail = "The change was saved and takes effect as soon as it can be published; look before you repeat it."
            raise Problem("ServiceUnavailable", detail=detail) from error
        if version is not None and self._routes is not None:
            await self._routes.wait_for(application_id, version, VIEW_WAIT_S)

    async def repair_regularly(self) -> None:
        """Runs for ever: publish what a crash, or an outage, left unpublished."""
        while True:
            try:
                left = await self._repair(await publications.list_unpublished(self._pool))
                self._metrics.unpublished_applications.set(left)
            except DatabaseUnavailable as error:
                log.warning("repair_waits", reason=str(error))
            await asyncio.sleep(REPAIR_INTERVAL_S)

    async def _repair(self, application_ids: list[str]) -> int:
        """Publish applications again; returns how many failed. A failure of one does not affect the others."""
        left = 0
        for application_id in application_ids:
            try:
                if await self.publish_or_raise(application_id) is not None:
                    log.info("republished", application_id=application_id)
            except (KafkaUnavailableError, LeaseLostError, *DatabaseUnavailable) as error:
                left += 1
                log.warning("repair_waits", application_id=application_id, reason=str(error))
            except Exception:
                left += 1
                log.exception("repair_failed", application_id=application_id)
        return left

    async def publish_or_raise(self, application_id: str, *, is_forced: bool = False) -> int | None:
        """The version that was published; None when there was nothing to publish. Raises what went wrong.

        `is_forced`: publish everything, under a version above what the log has.
        """
        lock = self._locks.setdefault(application_id, asyncio.Lock())
        async with lock:
            publication = await self._claim(application_id, is_forced=is_forced)
            if publication is None:
                return None
            try:
                await self._write(publication)
            except BaseException:
                await asyncio.shield(publications.abandon_publication(self._pool, publication))
                raise
            if not await publications.finish_publication(self._pool, publication):
                await self._give_way(publication)
            return publication.version

    async def _claim(self, application_id: str, *, is_forced: bool) -> Publication | None:
        deadline_s = time.monotonic() + BUSY_WAIT_S
        while True:
            head = self._routes.head_of(application_id) if self._routes is not None else None
            claimed = await publications.claim_publication(
                self._pool,
                application_id,
                self._lease,
                lease_s=LEASE_S,
                known=LogState(version=head.version, change_id=head.change_id) if head is not None else None,
                is_forced=is_forced,
            )
            if not isinstance(claimed, publications.Busy):
                if claimed is not None and claimed.is_healing:
                    self._metrics.healed_total.inc()
                    log.error(
                        "routes_healed",
                        application_id=application_id,
                        version=claimed.version,
                        epoch=claimed.epoch,
                        reason="the log and the database disagree; the database is published again",
                    )
                return claimed
            assert claimed is BUSY  # noqa: S101 - there is one
            if time.monotonic() > deadline_s:
                raise LeaseLostError("another gateway publishes this application and does not end")
            await asyncio.sleep(BUSY_POLL_S)

    async def _write(self, publication: Publication) -> None:
        now_us = self._clock_us()
        portion: list[Written] = []
        size_bytes = 0
        pauses = Pauses()
        async for record in self._list_records(publication):
            portion.append(record)
            size_bytes += len(record[1]) + len(record[2] or b"")
            await pauses.take()
            if size_bytes > PORTION_MAX_BYTES or len(portion) >= PORTION_MAX_RECORDS:
                await self._producer.send_bytes(portion)
                portion, size_bytes = [], 0
                if not await publications.extend_publication(self._pool, publication, lease_s=LEASE_S):
                    await self._give_way(publication)
        head = describe_head(publication, changed_at_us=now_us)
        portion.append((self._topics.routes, publication.application_id.encode(), to_bytes(head)))
        await self._producer.send_bytes(portion)
        marker = RoutesChanged(
            application_id=publication.application_id, routes_version=publication.version, changed_at_us=now_us
        )
        await self._producer.send(self._topics.events, publication.application_id, marker)

    async def _give_way(self, publication: Publication) -> None:
        await publications.publish_again(self._pool, publication.application_id)
        log.error("publishing_overtaken", application_id=publication.application_id, version=publication.version)
        raise LeaseLostError("publishing took too long; everything is published again")

    async def _list_records(self, publication: Publication) -> AsyncIterator[Written]:
        """Parts and endpoints that changed; deleted ones have no value."""
        routes, application_id = self._topics.routes, publication.application_id
        known: set[bytes] = set()
        async for page in publications.read_subscriptions(self._pool, publication):
            for changed in page:
                subscription = changed.subscription
                is_gone = subscription.deleted_at is not None or publication.deleted
                key = name_part(application_id, "subscription", subscription.subscription_id)
                known.add(key)
                yield routes, key, None if is_gone else to_bytes(describe_rule(changed))
                if changed.changed_version > publication.endpoints_since:
                    endpoint = describe_endpoint(subscription, version=publication.version, deleted=publication.deleted)
                    yield self._topics.endpoints, subscription.subscription_id.encode(), to_bytes(endpoint)
        for kind, names in (
            ("event_type", await publications.read_event_types(self._pool, publication)),
            ("secret", await publications.read_secrets(self._pool, publication)),
        ):
            for name in names:
                exists = name.exists and not publication.deleted
                part = to_bytes(describe_name(application_id, kind, name)) if exists else None
                key = name_part(application_id, kind, name.name)
                known.add(key)
                yield routes, key, part
        if publication.is_healing:
            for ghost in await self._ghosts.list_ends(application_id, publication.version, known):
                yield ghost
