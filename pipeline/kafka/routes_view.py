"""Every application's routes in memory: for matching (which version applied when) and for authentication."""

import asyncio
from collections import deque
from collections.abc import Sequence

import structlog

from pipeline.config import KafkaConfig
from pipeline.core.records import Routes, expect
from pipeline.core.routes import CompiledRoutes
from pipeline.kafka.read_faults import ReadFaults
from pipeline.kafka.view import LogView
from pipeline.topics import Topic
from schemas import SchemaError

log = structlog.get_logger()


class Version:
    """One version of an application's routes. Compiled when first asked for: most old versions never are."""

    __slots__ = ("_compiled", "_routes", "appended_at_us", "number")

    def __init__(self, routes: Routes, appended_at_us: int) -> None:
        self.number = routes.version
        self.appended_at_us = appended_at_us
        self._routes: Routes | None = routes
        self._compiled: CompiledRoutes | None = None

    @property
    def compiled(self) -> CompiledRoutes:
        if self._compiled is None:
            assert self._routes is not None  # noqa: S101 - dropped only once compiled
            self._compiled, self._routes = CompiledRoutes(self._routes), None
        return self._compiled


class Application:
    """What is known of one application: its newest snapshot's identity and the versions still kept, oldest first."""

    __slots__ = ("deleted", "organization_id", "secret_hashes", "versions")

    def __init__(self, history_max: int) -> None:
        self.versions: deque[Version] = deque(maxlen=history_max)
        self.organization_id = ""
        self.secret_hashes: frozenset[bytes] = frozenset()
        self.deleted = False


def choose_version(versions: Sequence[Version], appended_at_us: int, version_min: int) -> Version:
    """Of the versions that are kept, oldest first, the one that applied to an event appended at this time.

    That is the newest version that is at most `version_min`, which is known from a marker, or was appended no later
    than the event. A marker is exact; after a restart, markers behind the committed offset are not read again, and the
    time stands in: what was published later than the event was not yet answered when the event was accepted. Versions
    that are no longer kept count as their oldest successor.
    """
    chosen = versions[-1]
    if len(versions) > 1 and chosen.number > version_min:
        for version in reversed(versions):
            chosen = version
            if version.number <= version_min or version.appended_at_us <= appended_at_us:
                break
    return chosen


class RoutesView:
    """Follows the routes topic."""

    def __init__(
        self, config: KafkaConfig, topic: Topic, *, history_max: int = 1, faults: ReadFaults | None = None
    ) -> None:
        self._history_max = history_max
        self._applications: dict[str, Application] = {}
        self._by_secret: dict[bytes, str] = {}
        self._waiting: dict[str, list[tuple[int, asyncio.Future[None]]]] = {}
        self._view = LogView(config, topic, self._apply, faults)

    async def start(self) -> None:
        """Read all that is there. Raises `StartError`."""
        await self._view.start()

    async def close(self) -> None:
        await self._view.close()

    def check(self) -> str | None:
        """Health: None, or what is wrong."""
        return self._view.check()

    def current(self, application_id: str) -> CompiledRoutes | None:
        """The newest routes; None for an application that does not exist or was deleted."""
        application = self._applications.get(application_id)
        return None if application is None or application.deleted else application.versions[-1].compiled

    def at(self, application_id: str, appended_at_us: int, version_min: int) -> CompiledRoutes | None:
        """The routes that applied to an event; see `choose_version`. None: no such application is known."""
        application = self._applications.get(application_id)
        if application is None:
            return None
        return choose_version(application.versions, appended_at_us, version_min).compiled

    def application_of(self, secret_hash: bytes) -> str | None:
        """The application an application secret belongs to, by the secret's SHA-256."""
        return self._by_secret.get(secret_hash)

    def organization_of(self, application_id: str) -> str | None:
        """The organization of an application that is not deleted."""
        application = self._applications.get(application_id)
        return None if application is None or application.deleted else application.organization_id

    async def wait_for(self, application_id: str, version: int, timeout_s: float) -> bool:
        """Wait until this version (or a newer one) is here. False when it did not come in time."""
        if self._has(application_id, version):
            return True
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(application_id, []).append((version, future))
        try:
            async with asyncio.timeout(timeout_s):
                await future
        except TimeoutError:
            self._wake(application_id, 0)  # forgets this one: its application may never have routes
            return self._has(application_id, version)
        return True

    def _has(self, application_id: str, version: int) -> bool:
        application = self._applications.get(application_id)
        return application is not None and application.versions[-1].number >= version

    def _apply(self, key: str, value: bytes | None, appended_at_us: int) -> None:
        if value is None:
            return
        try:
            routes = expect(Routes, value)
        except SchemaError as error:
            log.error("routes_unreadable", application_id=key, reason=str(error))
            return
        application = self._applications.get(key)
        if application is None:
            application = self._applications[key] = Application(self._history_max)
        elif routes.version <= application.versions[-1].number:
            return  # a republished snapshot
        application.versions.append(Version(routes, appended_at_us))
        application.organization_id = routes.organization_id
        application.deleted = routes.deleted
        self._replace_secrets(key, application, frozenset() if routes.deleted else frozenset(routes.secret_hashes))
        self._wake(key, routes.version)

    def _replace_secrets(self, application_id: str, application: Application, secret_hashes: frozenset[bytes]) -> None:
        for gone in application.secret_hashes - secret_hashes:
            self._by_secret.pop(gone, None)
        for secret_hash in secret_hashes:
            self._by_secret[secret_hash] = application_id
        application.secret_hashes = secret_hashes

    def _wake(self, application_id: str, version: int) -> None:
        waiting = self._waiting.pop(application_id, [])
        left = [(wanted, future) for wanted, future in waiting if wanted > version and not future.done()]
        for wanted, future in waiting:
            if wanted <= version and not future.done():
                future.set_result(None)
        if left:
            self._waiting[application_id] = left
