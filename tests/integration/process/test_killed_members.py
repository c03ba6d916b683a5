"""A process that was killed is a member of its group no more when it is started again, whatever its session."""

from uuid import uuid4

from tests.integration.archive.archive_site import ArchiveSite
from tests.integration.archive.records import make_event, make_id
from tests.integration.damage.conftest import wait_for_events
from tests.integration.deliver.deliver_site import DeliverSite
from tests.integration.matcher.matcher_site import MatcherSite
from tests.support.eventually import eventually
from tests.support.receiver import Receiver
from tests.support.single_process import SingleProcess

# far beyond what these tests wait for
SESSION_S = "300"


async def restart(process: SingleProcess) -> None:
    await process.kill()
    await process.start()
    await eventually(lambda: "former_member_taken_out" in process.log(), timeout_s=30)


async def test_deliver(kafka: str, topic_prefix: str) -> None:
    """Deliver delivers again at once."""
    site = await DeliverSite(kafka, topic_prefix, partitions=1).prepare()
    async with Receiver() as receiver, site.deliver(KAFKA_SESSION_TIMEOUT_S=SESSION_S) as deliver:
        subscriber = site.subscribe(receiver.url("/a"))
        site.send(subscriber)
        await site.attempts(1)
        await restart(deliver)
        site.send(subscriber)
        await site.attempts(2)


async def test_the_matcher(kafka: str, topic_prefix: str) -> None:
    """The matcher matches again at once."""
    site = await MatcherSite(kafka, topic_prefix, partitions=1).prepare()
    application_id = str(uuid4())
    site.publish(application_id, {str(uuid4()): {}})
    async with site.matcher(KAFKA_SESSION_TIMEOUT_S=SESSION_S) as matcher:
        site.send(application_id, 1)
        await site.dispatches(1)
        await restart(matcher)
        site.send(application_id, 1)
        await site.dispatches(2)


async def test_the_archive(kafka: str, topic_prefix: str, database: str) -> None:
    """The archive archives again at once."""
    site = await ArchiveSite(kafka, topic_prefix, database, partitions=1).prepare()
    events = [make_event(make_id()) for _ in range(2)]
    async with site.archive(KAFKA_SESSION_TIMEOUT_S=SESSION_S) as archive:
        site.write(events[0])
        site.flush()
        await wait_for_events(database, events[:1])
        await restart(archive)
        site.write(events[1])
        site.flush()
        await wait_for_events(database, events)
