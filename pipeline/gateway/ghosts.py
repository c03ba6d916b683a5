"""Takes back items that the log has and the database does not: applications, subscriptions, event types, secrets."""

import asyncio
import time
from collections.abc import Callable, Mapping
from uuid import uuid4

import structlog

from pipeline.clock import wall_us
from pipeline.config import KafkaConfig
from pipeline.core.events.records import RoutesChanged, RoutesHead, to_bytes
from pipeline.gateway.published_records import end_endpoint, name_part
from pipeline.kafka.producer import KafkaUnavailableError, LogProducer
from pipeline.kafka.published import NOTHING_PUBLISHED, Published, read_published
from pipeline.kafka.routes.applications import Head
from pipeline.postgres.control.control_plane import raise_epoch, read_identity
from pipeline.postgres.pool import Pool
from pipeline.start_error import StartError
from pipeline.topics import Topic, Topics

# Many applications that are healed together share one look at the log. Records written since are no ghosts.
CONTENTS_TTL_S = 30.0
PORTION_MAX_RECORDS = 2000

Written = tuple[Topic, bytes, bytes | None]
log = structlog.get_logger()


class Ghosts:
    """Finds and ends them."""

    def __init__(
        self,
        pool: Pool,
        producer: LogProducer,
        kafka: KafkaConfig,
        topics: Topics,
        *,
        clock_us: Callable[[], int] = wall_us,
    ) -> None:
        self._pool = pool
        self._producer = producer
        self._kafka = kafka
        self._topics = topics
        self._clock_us = clock_us
        self._contents: Mapping[str, Published] | None = None
        self._contents_until_s = 0.0

    async def list_ends(self, application_id: str, version: int, known: set[bytes]) -> list[Written]:
        """Records that end what the log has of an application besides `known`, keys of parts."""
        published = await self._find(application_id)
        records: list[Written] = [(self._topics.routes, key, None) for key in published.parts if key not in known]
        for endpoint in published.endpoints:
            key = name_part(application_id, "subscription", endpoint.subscription_id)
            if key not in known and not endpoint.deleted:
                ended = to_bytes(end_endpoint(endpoint, version))
                records.append((self._topics.endpoints, endpoint.subscription_id.encode(), ended))
        return records

    async def take_back(self, application_id: str, organization_id: str, head: Head) -> None:
        """End a whole application: nothing is accepted or sent for it any more. `head`: what the log says of it.

        Raises `KafkaUnavailableError`.
        """
        identity = await read_identity(self._pool)
        if identity is None:
            return
        now_us, version = self._clock_us(), head.version + 1
        records = await self.list_ends(application_id, version, set())
        for start in range(0, len(records), PORTION_MAX_RECORDS):
            await self._producer.send_bytes(records[start : start + PORTION_MAX_RECORDS])
        end = RoutesHead(
            application_id=application_id,
            organization_id=organization_id,
            version=version,
            change_id=str(uuid4()),
            changed_at_us=now_us,
            deleted=True,
            control_plane_id=identity[0],
            epoch=await raise_epoch(self._pool),
        )
        await self._producer.send(self._topics.routes, application_id, end)
        marker = RoutesChanged(application_id=application_id, routes_version=version, changed_at_us=now_us)
        await self._producer.send(self._topics.events, application_id, marker)
        log.error("application_taken_back", application_id=application_id, version=version, records=len(records))

    async def _find(self, application_id: str) -> Published:
        if self._contents is None or time.monotonic() > self._contents_until_s:
            try:
                self._contents = await asyncio.to_thread(read_published, self._kafka, self._topics)
            except StartError as error:
                raise KafkaUnavailableError(str(error)) from error
            self._contents_until_s = time.monotonic() + CONTENTS_TTL_S
        return self._contents.get(application_id, NOTHING_PUBLISHED)
