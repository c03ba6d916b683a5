"""Every application's routes in memory: for matching (which version applied when) and for authentication."""

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import structlog

from pipeline.config import KafkaConfig
from pipeline.core.events.records import Record, Routes, RoutesHead, RoutesPart, from_bytes
from pipeline.core.log.partition import locate_partition
from pipeline.core.routing.routes import AppliedRoutes, RoutesHistory, Rule
from pipeline.kafka.admin import LogEnds
from pipeline.kafka.read_faults import ReadFaults
from pipeline.kafka.topic_ids import TopicIds
from pipeline.kafka.view import LogView
from pipeline.topics import Topic
from schemas import SchemaError

LOOK_AGAIN_S = 0.005
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Version:
    """One version of an application's routes: its number, and when the broker appended it."""

    number: int
    appended_at_us: int
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class Head:
    """What the log says of an application. `change_id` is empty for one published before there were change ids."""

    version: int
    change_id: str
    deleted: bool
    control_plane_id: str
    epoch: int


NO_HEAD = Head(0, "", deleted=True, control_plane_id="", epoch=0)


class Application:
    """What is known of one application. `staged`: parts that were read and apply with the next head."""

    __slots__ = ("head", "history", "organization_id", "secrets", "staged", "versions")

    def __init__(self, history_max: int) -> None:
        self.history = RoutesHistory()
        self.versions: deque[Version] = deque(maxlen=history_max)
        self.staged: dict[str, RoutesPart | None] = {}
        self.organization_id = ""
        self.secrets: set[str] = set()  # hashes in hex
        self.head = NO_HEAD


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
        self,
        config: KafkaConfig,
        topic: Topic,
        *,
        history_max: int = 1,
        faults: ReadFaults | None = None,
        ids: TopicIds | None = None,
        ends: LogEnds | None = None,
    ) -> None:
        """`ends`: None: `wait_for` cannot tell what is late from what does not exist."""
        self._topic = topic
        self._ends = ends
        self._history_max = history_max
        self._applications: dict[str, Application] = {}
        self._by_secret: dict[str, str] = {}
        self._waiting: dict[str, list[tuple[int, asyncio.Future[None]]]] = {}
        # Subscriptions met while the topic is read from its start; None: it has been. See `_find_since`.
        self._met: set[str] | None = set()
        self._view = LogView(config, topic, self._apply, faults, ids)

    async def start(self) -> None:
        """Read all that is there. Raises `StartError`."""
        await self._view.start()
        self._met = None

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
        return self._by_secret.get(secret_hash.hex())

    def organization_of(self, application_id: str) -> str | None:
        """The organization of an application that is not deleted."""
        application = self._find(application_id)
        return None if application is None or application.head.deleted else application.organization_id

    def head_of(self, application_id: str) -> Head | None:
        """What the log says; None: nothing."""
        application = self._find(application_id)
        return None if application is None else application.head

    def heads(self) -> Iterator[tuple[str, Head]]:
        """Every application in the log, deleted ones too."""
        for application_id, application in list(self._applications.items()):
            if application.versions:
                yield application_id, application.head

    def list_rules(self, application_id: str) -> list[Rule]:
        """What its enabled subscriptions select."""
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
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(application_id, []).append((version, future))
        try:
            async with asyncio.timeout(timeout_s):
                await self._read_to_end(application_id, future)
        except TimeoutError:
            log.warning("routes_late", application_id=application_id, version=version, waited_s=timeout_s)
        if future.done():
            return True
        future.cancel()
        self._wake(application_id, 0)  # forgets this one: its application may never have routes
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
        """One of which a head was read; parts alone are nothing."""
        application = self._applications.get(application_id)
        return application if application is not None and application.versions else None

    def _has(self, application_id: str, version: int) -> bool:
        application = self._find(application_id)
        return application is not None and application.head.version >= version

    def _apply(self, key: str, value: bytes | None, appended_at_us: int) -> None:
        application_id, is_part = key.partition("/")[::2]
        record: Record | None = None
        if value is not None:
            try:
                record = from_bytes(value)
            except SchemaError as error:
                log.error("routes_unreadable", key=key, reason=str(error))
                return
        match record:
            case RoutesPart() if is_part:
                self._make(application_id).staged[is_part] = record
            case None if is_part:
                self._make(application_id).staged[is_part] = None
            case None:
                self._forget(application_id)
            case RoutesHead():
                head = Head(record.version, record.change_id, record.deleted, record.control_plane_id, record.epoch)
                self._advance(application_id, record.organization_id, head, appended_at_us)
            case Routes():
                self._stage_whole(self._make(application_id), record)
                head = Head(record.version, "", record.deleted, "", 0)
                self._advance(application_id, record.organization_id, head, appended_at_us)
            case _:
                log.error("routes_unreadable", key=key, reason=f"a {type(record).__name__} does not belong here")

    def _make(self, application_id: str) -> Application:
        application = self._applications.get(application_id)
        if application is None:
            application = self._applications[application_id] = Application(self._history_max)
        return application

    def _stage_whole(self, application: Application, routes: Routes) -> None:
        """The parts that a record in the old form stands for, and the end of those it does not name."""
        staged = application.staged
        staged.clear()
        history = application.history
        staged.update({f"s/{subscription_id}": None for subscription_id in history.subscription_ids})
        staged.update({f"t/{name}": None for name in history.event_types})
        staged.update({f"k/{secret}": None for secret in application.secrets})

        def part(kind: str, name: str) -> RoutesPart:
            return RoutesPart(
                application_id=routes.application_id,
                kind=kind,
                name=name,
                created_version=routes.version,
                version=routes.version,
            )

        staged.update({f"t/{name}": part("event_type", name) for name in routes.event_types})
        staged.update({f"k/{value.hex()}": part("secret", value.hex()) for value in routes.secret_hashes})
        for each in routes.subscriptions:
            staged[f"s/{each['subscription_id']}"] = RoutesPart(
                application_id=routes.application_id,
                kind="subscription",
                name=each["subscription_id"],
                created_version=routes.version,
                version=routes.version,
                enabled=each["enabled"],
                event_types=each["event_types"],
                labels=each["labels"],
            )

    def _advance(self, application_id: str, organization_id: str, head: Head, appended_at_us: int) -> None:
        application = self._make(application_id)
        staged, application.staged = application.staged, {}
        if application.versions and head.version < application.head.version:
            log.warning("routes_stale", application_id=application_id, version=head.version)
            return  # by a gateway that was frozen meanwhile; whoever noticed publishes again
        for place, part in staged.items():
            self._change(application_id, application, place, part, head.version)
        if head.deleted:
            for secret in [*application.secrets]:
                self._drop_secret(application, secret)
        application.organization_id = organization_id
        application.head = head
        if application.versions and application.versions[-1].number == head.version:
            application.versions.pop()  # published again
        application.versions.append(Version(head.version, appended_at_us, head.deleted))
        application.history.forget_before(application.versions[0].number)
        self._wake(application_id, head.version)

    def _change(
        self, application_id: str, application: Application, place: str, part: RoutesPart | None, version: int
    ) -> None:
        kind, _, name = place.partition("/")
        history = application.history
        match kind, part:
            case "s", None:
                history.drop_rule(name, version)
            case "s", RoutesPart():
                history.put_rule(
                    name,
                    self._find_since(part, version),
                    enabled=part.enabled,
                    event_types=part.event_types,
                    labels=part.labels,
                    payload_filter=part.payload_filter,
                )
            case "t", None:
                history.drop_type(name, version)
            case "t", RoutesPart():
                history.put_type(name, min(version, part.version))
            case "k", None:
                self._drop_secret(application, name)
            case "k", RoutesPart():
                application.secrets.add(name)
                self._by_secret[name] = application_id

    def _find_since(self, part: RoutesPart, version: int) -> int:
        """Since when a subscription has been as `part` says: of the first record of it that is read, since it exists.

        What it was before may have been compacted away, while events that met it wait to be matched after a restart:
        better as it is now than as if there had been none.
        """
        if self._met is None or part.name in self._met:
            return version
        self._met.add(part.name)
        return min(part.created_version, version)

    def _drop_secret(self, application: Application, secret: str) -> None:
        application.secrets.discard(secret)
        self._by_secret.pop(secret, None)

    def _forget(self, application_id: str) -> None:
        """A tombstone: of an application that was taken back long ago."""
        application = self._applications.pop(application_id, None)
        for secret in application.secrets if application is not None else ():
            self._by_secret.pop(secret, None)

    def _wake(self, application_id: str, version: int) -> None:
        waiting = self._waiting.pop(application_id, [])
        left = [(wanted, future) for wanted, future in waiting if wanted > version and not future.done()]
        for wanted, future in waiting:
            if wanted <= version and not future.done():
                future.set_result(None)
        if left:
            self._waiting[application_id] = left
