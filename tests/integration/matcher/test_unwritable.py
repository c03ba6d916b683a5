"""A topic that does not take single deliveries: they become dead letters, and everything else goes on, once."""

import os
from uuid import uuid4

import aiohttp

from pipeline.core.events.records import DeadLetter, Delivery
from tests.integration.matcher.matcher_site import MatcherSite
from tests.support.eventually import eventually
from tests.support.kafka import alter_topic
from tests.support.single_process import SingleProcess

SMALL, LARGE = 40, 4


async def test_a_delivery_that_is_too_large_stops_nobody(kafka: str, topic_prefix: str) -> None:
    """`max.message.bytes` of the deliveries is lower than an event's size: each event is matched exactly once."""
    site = await MatcherSite(kafka, topic_prefix).prepare()
    await alter_topic(kafka, site.topics.deliveries, "max.message.bytes", "20000")
    application_id, subscription_id = str(uuid4()), str(uuid4())
    site.publish(application_id, {subscription_id: {}})
    async with site.matcher() as matcher:
        for _ in range(LARGE):
            site.send(application_id, payload=b'"' + os.urandom(30_000).hex().encode() + b'"')
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


async def test_a_topic_that_takes_nothing_makes_no_dead_letters(kafka: str, topic_prefix: str) -> None:
    """An operator's mistake: the matcher waits until it is mended, and then every delivery is written, once."""
    site = await MatcherSite(kafka, topic_prefix).prepare()
    application_id, subscription_id = str(uuid4()), str(uuid4())
    site.publish(application_id, {subscription_id: {}})
    async with site.matcher() as matcher:
        site.send(application_id)
        await site.dispatches(1)
        await alter_topic(kafka, site.topics.deliveries, "max.message.bytes", "50")
        sent = 1

        async def is_refused() -> bool:
            """Brokers apply a setting some time after they have taken it: events are sent until then."""
            nonlocal sent
            site.send(application_id, 10)
            sent += 10
            return await read_problem(matcher, site.topics.deliveries.name) is not None

        await eventually(is_refused)
        site.send(application_id, SMALL)
        sent += SMALL
        await alter_topic(kafka, site.topics.deliveries, "max.message.bytes", str(4 * 1024 * 1024))
        await eventually(lambda: len(site.read_records(site.topics.deliveries, Delivery)) >= sent)

    deliveries = site.read_records(site.topics.deliveries, Delivery)
    assert [] == site.read_records(site.topics.dead, DeadLetter)
    assert sent == len(deliveries) == len({delivery.delivery_id for delivery in deliveries})


async def read_problem(matcher: SingleProcess, topic: str) -> str | None:
    """Return what /health says of writing while it is red, and names this topic; else nothing."""
    base = (await matcher.wait_ready())["metrics"].removesuffix("/metrics")
    async with aiohttp.ClientSession() as session, session.get(base + "/health") as response:
        problem: str = (await response.json())["problems"].get("writing", "")
        return problem if response.status == 503 and topic in problem else None


def read_letters(site: MatcherSite) -> list[DeadLetter]:
    letters = site.read_records(site.topics.dead, DeadLetter)
    return letters if len(letters) >= LARGE else []
