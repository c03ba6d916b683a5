"""The parts of a gateway, made once per process and handed to handlers as `request.app[GATEWAY]`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
from aiohttp import web

from pipeline.config import Settings
from pipeline.core.network.client_address import Proxies
from pipeline.core.signing.sealing import Sealer
from pipeline.gateway.accounts.accounts import Accounts
from pipeline.gateway.event_ids import EventIds
from pipeline.gateway.health_report import ApiHealth
from pipeline.gateway.producer_reading import ProducerReading
from pipeline.gateway.publishing import Publisher
from pipeline.gateway.reads.catching_up import CatchingUp
from pipeline.gateway.shared_room import SharedRoom
from pipeline.gateway.tokens import Tokens
from pipeline.gateway.usage import EventUsage
from pipeline.kafka.admin import LogEnds
from pipeline.kafka.log_clock import LogClock
from pipeline.kafka.producer import LogProducer
from pipeline.kafka.routes_view import RoutesView
from pipeline.kafka.topic_ids import TopicIds
from pipeline.kafka.write_probe import WriteProbe
from pipeline.metrics import Metrics
from pipeline.postgres.databases import Databases
from pipeline.postgres.pool import Pool
from pipeline.topics import Topics

if TYPE_CHECKING:
    from pipeline.tracing import Tracing


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """The properties are what handlers use of `databases`."""

    settings: Settings
    metrics: Metrics
    log: structlog.stdlib.BoundLogger
    topics: Topics
    databases: Databases
    ends: LogEnds
    ids: TopicIds
    routes: RoutesView
    producer: LogProducer
    sealer: Sealer
    tokens: Tokens
    accounts: Accounts
    usage: EventUsage
    event_ids: EventIds
    in_flight: SharedRoom
    bodies: SharedRoom
    publisher: Publisher
    health: ApiHealth
    proxies: Proxies
    clock: LogClock
    writing: WriteProbe
    catching_up: CatchingUp
    producer_reading: ProducerReading
    tracing: "Tracing | None"

    @property
    def pool(self) -> Pool:
        """The primary."""
        return self.databases.primary

    @property
    def read_pool(self) -> Pool:
        """A replica that can be used, else the primary as well."""
        return self.databases.reader

    @property
    def lookup_pool(self) -> Pool:
        """The pool for reads by single statements of `Pool.fetch`."""
        return self.databases.lookups

    @property
    def fresh_pool(self) -> Pool:
        """The primary, for single statements by `Pool.fetch` that must see rows just written."""
        return self.databases.primary_lookups


GATEWAY = web.AppKey("gateway", Gateway)


def find_tenant(gateway: Gateway, application_id: str) -> str:
    """The organization of an application; the application itself while its organization is not known here."""
    return gateway.routes.organization_of(application_id) or application_id
