"""Records of the routes topic applied in their order: parts are staged, and take effect with the next head."""

from collections.abc import Callable, Iterator

import structlog

from pipeline.core.events.records import Record, Routes, RoutesHead, RoutesPart, from_bytes
from pipeline.core.routing.routes import TypeSchema
from pipeline.kafka.routes.applications import Application, Head, Version
from schemas import SchemaError

log = structlog.get_logger()


class Applications:
    """Every application in the topic, and to which of them a secret belongs."""

    def __init__(self, *, history_max: int, advanced: Callable[[str, int], None]) -> None:
        """`history_max`: versions kept of each; `advanced(application_id, version)`: a head was applied."""
        self._history_max = history_max
        self._advanced = advanced
        self._applications: dict[str, Application] = {}
        self._by_secret: dict[str, str] = {}
        # What was met while the topic is read from its start; None: it has been. See `_find_since`.
        self._met: set[str] | None = set()

    def find(self, application_id: str) -> Application | None:
        """The application, if a head of it was read. Parts without a head do not count."""
        application = self._applications.get(application_id)
        return application if application is not None and application.versions else None

    def find_by_secret(self, secret_hash: bytes) -> str | None:
        """The application of a secret, by the secret's SHA-256."""
        return self._by_secret.get(secret_hash.hex())

    def list_heads(self) -> Iterator[tuple[str, Head]]:
        """Every application in the log, deleted ones too."""
        for application_id, application in list(self._applications.items()):
            if application.versions:
                yield application_id, application.head

    def end_first_reading(self) -> None:
        """Note that everything that was in the topic at the start has been applied."""
        self._met = None

    def apply(self, key: str, value: bytes | None, appended_at_us: int) -> None:
        """Apply one record of the topic."""
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
            return  # by a gateway that was frozen meanwhile; the gateway that noticed publishes again
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
        self._advanced(application_id, head.version)

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
                schema = TypeSchema(part.payload_schema, part.schema_mode, part.schema_version)
                history.put_type(name, self._find_since(part, version), schema)
            case "k", None:
                self._drop_secret(application, name)
            case "k", RoutesPart():
                application.secrets.add(name)
                self._by_secret[name] = application_id

    def _find_since(self, part: RoutesPart, version: int) -> int:
        """Find the first version that `part` holds for. For the first record of a name it is the version that made it.

        Compaction may have removed its earlier form, while events of that time wait to be matched after a restart. They
        are matched with the present form, rather than with none.
        """
        # names of event types are an application's own
        place = f"{part.application_id}/{part.name}"
        if self._met is None or place in self._met:
            return version
        self._met.add(place)
        return min(part.created_version, version)

    def _drop_secret(self, application: Application, secret: str) -> None:
        application.secrets.discard(secret)
        self._by_secret.pop(secret, None)

    def _forget(self, application_id: str) -> None:
        """Forget an application whose record is a tombstone: it was deleted long ago."""
        application = self._applications.pop(application_id, None)
        for secret in application.secrets if application is not None else ():
            self._by_secret.pop(secret, None)
