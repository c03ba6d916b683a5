"""A topic that does not take single deliveries: they become dead letters, and everything else goes on, once."""

import os
from uuid import uuid4

from pipeline.core.events.records import DeadLetter, Delivery
from tests.integration.matcher.matcher_site import MatcherSite
from tests.support.eventually import eventually
from tests.support.kafka import alter_topic

SMALL, LARGE = 40, 4


async def test_a_delivery_that_is_too_large_stops_nobody(kafka: str, topic_prefix: str) -> None:
    """`max.message.bytes` of the deliveries is lower than an event's size: each event is matched exactly once."""
    site = await MatcherSite(kafka, topic_prefix).prepare()
    await alter_topic(kafka, site.topics.deliveries, "max.message.bytes", "20000")
    application_id, subscription_id = str(uuid4()), str(uuid4())
    site.publish(application_id, {subscription_id: {}})
    async with site.matcher() as matcher:
        for _ in range(LARGE):
            site.send(application_id, payload=b'"' + os.urandom(40_000).hex().encode() + b'"')
            for _ in range(SMALL // LARGE):
                site.send(application_id)
        await site.dispatches(SMALL + LARGE)
        await eventually(lambda: len(site.read_records(site.topics.deliveries, Delivery)) >= SMALL)
        letters = await eventually(lambda: read_letters(site))
        is_running = matcher.is_running

    deliveries = site.read_records(site.topics.deliveries, Delivery)
    assert is_running
    assert SMALL == len(deliveries) == len({delivery.delivery_id for delivery in deliveries})
    assert {("refused_by_log", subscription_id)} == {(letter.reason, letter.subscription_id) for letter in letters}
    assert LARGE == len({letter.delivery_id for letter in letters})


def read_letters(site: MatcherSite) -> list[DeadLetter]:
    letters = site.read_records(site.topics.dead, DeadLetter)
    return letters if len(letters) >= LARGE else []
