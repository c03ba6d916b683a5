"""Actions on the states of endpoints, with a real PostgreSQL."""

import psycopg

from pipeline.core.events.operational import SUBSCRIPTION_DISABLED
from pipeline.core.events.records import Event
from pipeline.gateway.endpoint_actions import EndpointActions
from pipeline.gateway.publishing import LeaseLostError
from pipeline.postgres.pool import Pool
from tests.integration.archive.records import make_id
from tests.integration.archive.test_attempts import subscribe
from tests.integration.archive.test_reads import open_archive
from tests.support.outbound import make_gone_state


class Around:
    """Takes what actions publish and tell. The first `overtaken` publications fail. Satisfies `Publisher`."""

    def __init__(self, pool: Pool, *, overtaken: int = 0) -> None:
        self.told: list[Event] = []
        self.left = overtaken
        self.actions = EndpointActions(
            pool, self, tell=self.tell, hold_s=60, clock_us=lambda: 1_000_000, again_after_s=0.0
        )

    async def publish_or_raise(self, application_id: str) -> int:
        if self.left:
            self.left -= 1
            raise LeaseLostError("another gateway publishes this application and does not end")
        return 1

    async def tell(self, event: Event) -> None:
        self.told.append(event)


async def test_who_is_disabled_is_told_however_often_others_publish(database: str) -> None:
    """The subscription is disabled by then: the owner must not be left without the event that says so."""
    application_id = make_id()
    subscription_id = subscribe(database, application_id)
    async with open_archive(database) as (_, pool):
        around = Around(pool, overtaken=2)
        await around.actions.apply(make_gone_state(application_id, subscription_id))

    assert [SUBSCRIPTION_DISABLED] == [event.event_type for event in around.told]


async def test_who_changed_the_endpoint_is_not_told_of_the_one_before(database: str) -> None:
    """The subscription stays enabled: an event that it was disabled would be wrong."""
    application_id = make_id()
    subscription_id = subscribe(database, application_id)
    with psycopg.connect(database) as connection:
        connection.execute(
            "update subscriptions set target_url = 'https://y.test', changed_version = 2 where subscription_id = %s",
            (subscription_id,),
        )
    async with open_archive(database) as (_, pool):
        around = Around(pool)
        await around.actions.apply(make_gone_state(application_id, subscription_id))

    assert [] == around.told


async def test_what_is_repeated_is_told_under_the_same_id(database: str) -> None:
    """A crash may have come between disabling and telling."""
    application_id = make_id()
    subscription_id = subscribe(database, application_id)
    async with open_archive(database) as (_, pool):
        around = Around(pool)
        for _ in range(2):
            await around.actions.apply(make_gone_state(application_id, subscription_id))
    first, second = around.told

    assert SUBSCRIPTION_DISABLED == first.event_type
    assert first.event_id == second.event_id
