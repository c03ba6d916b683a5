"""One of each process that reads the log, beside a receiver: the tests change the log under them."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from uuid import uuid4

from pipeline.core.events.records import Delivery, Event
from pipeline.topics import Topic
from tests.integration.archive.archive_site import ArchiveSite
from tests.integration.damage.conftest import wait_for_events
from tests.integration.deliver.deliver_site import DeliverSite, Subscriber
from tests.integration.matcher.matcher_site import MatcherSite
from tests.support.eventually import eventually
from tests.support.receiver import Receiver
from tests.support.single_process import SingleProcess

CATCH_UP_TIMEOUT_S = 60


@dataclass(kw_only=True)
class Readers:
    """`events` and `deliveries` may be replaced by sites with a new producer."""

    servers: str
    prefix: str
    database: str
    events: MatcherSite
    archive: ArchiveSite
    deliveries: DeliverSite
    receiver: Receiver
    application_id: str
    subscriber: Subscriber
    processes: Sequence[SingleProcess]

    @property
    def topics(self) -> tuple[Topic, Topic, Topic]:
        """The topic that each of `processes` reads."""
        return self.events.topics.events, self.events.topics.events, self.deliveries.topics.deliveries

    async def wait_for_first(self, accepted: Sequence[Event]) -> None:
        """Wait until the first records have reached all readers."""
        await self.events.dispatches(len(accepted))
        await wait_for_events(self.database, accepted)
        await self.deliveries.attempts(len(accepted))

    def renew_events(self) -> None:
        """A site with a new producer."""
        self.events = MatcherSite(self.servers, f"{self.prefix}a.", partitions=1)

    def renew_deliveries(self) -> None:
        """A site with a new producer."""
        self.deliveries = DeliverSite(self.servers, f"{self.prefix}b.", partitions=1)

    async def check_all_read(self, accepted: Sequence[Event], sent: Sequence[Delivery]) -> None:
        """Wait until every event is archived and matched, and every delivery has arrived."""
        await wait_for_events(self.database, accepted)
        # by id: events that are read again are dispatched again
        dispatches = await self.events.dispatches(len(accepted), timeout_s=CATCH_UP_TIMEOUT_S)
        requests = self.receiver.requests
        await eventually(
            lambda: {each.delivery_id for each in sent} == {each.header("webhook-id") for each in requests()},
            timeout_s=CATCH_UP_TIMEOUT_S,
        )

        assert {event.event_id for event in accepted} == {each.event_id for each in dispatches}


@asynccontextmanager
async def run_readers(servers: str, prefix: str, database: str) -> AsyncIterator[Readers]:
    """A matcher, an archive and a deliver process, each on topics with one partition."""
    events = MatcherSite(servers, f"{prefix}a.", partitions=1)
    archive = ArchiveSite(servers, f"{prefix}a.", database, partitions=1)
    deliveries = DeliverSite(servers, f"{prefix}b.", partitions=1)
    await events.prepare()
    await deliveries.prepare()
    application_id = str(uuid4())
    events.publish(application_id, {str(uuid4()): {}})
    async with Receiver() as receiver, AsyncExitStack() as running:
        subscriber = deliveries.subscribe(receiver.url("/a"))
        processes = [events.matcher(), archive.archive(), deliveries.deliver()]
        for process in processes:
            await running.enter_async_context(process)
        yield Readers(
            servers=servers,
            prefix=prefix,
            database=database,
            events=events,
            archive=archive,
            deliveries=deliveries,
            receiver=receiver,
            application_id=application_id,
            subscriber=subscriber,
            processes=processes,
        )
