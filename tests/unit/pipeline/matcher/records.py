"""Records and routes made to order for the matcher's unit tests."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.core.events.records import Event, Routes, RoutesChanged, to_bytes
from pipeline.core.routing.routes import AppliedRoutes
from tests.unit.pipeline.core.compiling import compile_routes

EVENT_TYPE = "billing.invoice.paid"
APPLICATION = "0190f1a2-0000-7000-8000-000000000001"
NOW_US = 1_795_500_460_000_000


@dataclass(slots=True)
class StoredRecord:
    """A record as the consumer hands it over."""

    key: bytes | None
    value: bytes | None
    offset: int = 0
    partition: int = 3
    timestamp: int = NOW_US // 1000
    topic: str = "t.events"
    headers: Sequence[tuple[str, bytes]] = ()


class FixedRoutes:
    """A `RoutesSource`: what each application's routes are, by version; newer versions can be told to come."""

    def __init__(self) -> None:
        self.versions: dict[str, dict[int, AppliedRoutes]] = {}
        self.asked: list[tuple[str, int, int]] = []
        self.waited: list[tuple[str, int]] = []
        self.coming: dict[str, Routes] = {}

    def publish(self, routes: Routes) -> None:
        self.versions.setdefault(routes.application_id, {})[routes.version] = compile_routes(routes)

    def at(self, application_id: str, appended_at_us: int, version_min: int) -> AppliedRoutes | None:
        self.asked.append((application_id, appended_at_us, version_min))
        versions = self.versions.get(application_id)
        return versions[max(versions)] if versions else None

    async def wait_for(self, application_id: str, version: int, timeout_s: float) -> bool:
        self.waited.append((application_id, version))
        if application_id in self.coming:
            self.publish(self.coming.pop(application_id))
        return version in self.versions.get(application_id, {})


def make_routes(
    subscriptions: Mapping[str, Mapping[str, str]],
    *,
    application_id: str = APPLICATION,
    version: int = 1,
    event_types: tuple[str, ...] = (EVENT_TYPE,),
    deleted: bool = False,
) -> Routes:
    return Routes(
        application_id=application_id,
        organization_id="o",
        version=version,
        changed_at_us=0,
        deleted=deleted,
        event_types=list(event_types),
        subscriptions=[
            {"subscription_id": each, "enabled": True, "event_types": [EVENT_TYPE], "labels": dict(labels)}
            for each, labels in subscriptions.items()
        ],
        secret_hashes=[],
    )


def make_event(number: int = 1, **fields: Any) -> Event:
    usual: dict[str, Any] = {
        "application_id": APPLICATION,
        "event_id": f"0190f1a2-0000-7000-8000-{number:012x}",
        "event_type": EVENT_TYPE,
        "payload": b'{"n":1}',
        "payload_content_type": "text/plain" if fields.get("payload", b"")[:1] == b"x" else "application/json",
        "labels": {"region": "eu"},
        "occurred_at_us": NOW_US - 5,
        "received_at_us": NOW_US - 3,
    }
    return Event(**usual | fields)


def store(record: Event | RoutesChanged, offset: int = 0) -> StoredRecord:
    """Store a record in the form in which its producer wrote it."""
    return StoredRecord(key=record.application_id.encode(), value=to_bytes(record), offset=offset)


def make_marker(version: int, application_id: str = APPLICATION) -> RoutesChanged:
    return RoutesChanged(application_id=application_id, routes_version=version, changed_at_us=0)
