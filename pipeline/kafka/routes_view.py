"""Every application's routes in memory: for matching (which version applied when) and for authentication."""

import asyncio
from collections.abc import Iterator

import structlog

from pipeline.config import KafkaConfig
from pipeline.core.log.partition import locate_partition
from pipeline.core.routing.routes import AppliedRoutes, Rule
from pipeline.kafka.admin import LogEnds
from pipeline.kafka.read_faults import ReadFaults
from pipeline.kafka.routes.applications import Application, Head, choose_version
from pipeline.kafka.routes.applying import Applications
from pipeline.kafka.routes.version_waits import VersionWaits
from pipeline.kafka.topic_ids import TopicIds
from pipeline.kafka.view import LogView
from pipeline.topics import Topic

LOOK_AGAIN_S = 0.005
log = structlog.get_logger()


class RoutesView:
    """Follows the routes topic."""

    def __init__(
        self,
        config: KafkaConfig,
        topic: Topic,
        *,
        history_max: int = 1,
        faults: ReadFaults | None = None,
        ids: TopicIds | None = None,
        ends: LogEnds | None = None,
    ) -> None:
        """`ends`: None: `wait_for` cannot tell late routes from routes that do not exist."""
        self._topic = topic
        self._ends = ends
        self._waits = VersionWaits()
        self._applications = Applications(history_max=history_max, advanced=self._waits.wake)
        self._view = LogView(config, topic, self._applications.apply, faults, ids)

    async def start(self) -> None:
        """Read the topic up to its present end. Raises `StartError`."""
        await self._view.start()
        self._applications.end_first_reading()

    async def close(self) -> None:
        await self._view.close()

    def check(self) -> str | None:
        """Health: None, or what is wrong."""
        return self._view.check()

    def take_incomplete(self) -> bool:
        """Was a batch stepped over since this was last asked? Then any application may lack its newest records."""
        return self._view.take_incomplete()

    def current(self, application_id: str) -> AppliedRoutes | None:
        """The newest routes; None for an application that does not exist or was deleted."""
        application = self._find(application_id)
        if application is None or application.head.deleted:
            return None
        return AppliedRoutes(application.history, application.head.version, deleted=False)

    def at(self, application_id: str, appended_at_us: int, version_min: int) -> AppliedRoutes | None:
        """The routes that applied to an event; see `choose_version`. None: no such application is known."""
        application = self._find(application_id)
        if application is None:
            return None
        chosen = choose_version(application.versions, appended_at_us, version_min)
        return AppliedRoutes(application.history, chosen.number, deleted=chosen.deleted)

    def application_of(self, secret_hash: bytes) -> str | None:
        """The application an application secret belongs to, by the secret's SHA-256."""
        return self._applications.find_by_secret(secret_hash)

    def organization_of(self, application_id: str) -> str | None:
        """The organization of an application that is not deleted."""
        application = self._find(application_id)
        return None if application is None or application.head.deleted else application.organization_id

    def head_of(self, application_id: str) -> Head | None:
        """The newest head in the log; None: there is none."""
        application = self._find(application_id)
        return None if application is None else application.head

    def heads(self) -> Iterator[tuple[str, Head]]:
        """Every application in the log, deleted ones too."""
        return self._applications.list_heads()

    def list_rules(self, application_id: str) -> list[Rule]:
        """The rules of its enabled subscriptions."""
        application = self._find(application_id)
        return [] if application is None else application.history.list_rules()

    def list_event_types(self, application_id: str) -> list[str]:
        application = self._find(application_id)
        return [] if application is None else application.history.event_types

    def list_secrets(self, application_id: str) -> list[str]:
        """SHA-256 of each valid application secret, in hex."""
        application = self._find(application_id)
        return [] if application is None else sorted(application.secrets)

    async def wait_for(self, application_id: str, version: int, timeout_s: float) -> bool:
        """Wait until this version (or a newer one) is here.

        False when it did not come in time, or is not in the topic by now: routes are there before their marker is.
        """
        if self._has(application_id, version):
            return True
        future = self._waits.add(application_id, version)
        try:
            async with asyncio.timeout(timeout_s):
                await self._read_to_end(application_id, future)
        except TimeoutError:
            log.warning("routes_late", application_id=application_id, version=version, waited_s=timeout_s)
        if future.done():
            return True
        self._waits.remove(application_id, future)
        return self._has(application_id, version)

    async def _read_to_end(self, application_id: str, future: "asyncio.Future[None]") -> None:
        """Return when `future` is done, or all that is in the topic at the call is applied."""
        if self._ends is None:
            await asyncio.wait([future])
            return
        partition = locate_partition(application_id.encode(), self._topic.partitions)
        end = await self._ends.end_offset(self._topic, partition)
        while not future.done() and not self._view.has_applied(partition, end):
            await asyncio.wait([future], timeout=LOOK_AGAIN_S)

    def _find(self, application_id: str) -> Application | None:
        return self._applications.find(application_id)

    def _has(self, application_id: str, version: int) -> bool:
        application = self._find(application_id)
        return application is not None and application.head.version >= version
