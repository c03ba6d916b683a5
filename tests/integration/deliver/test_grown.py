"""Topics that were given more partitions by hand, while Hookline runs with as many as it declared."""

import asyncio

import pytest
from confluent_kafka.admin import AdminClient, NewPartitions

from pipeline.topics import Topic
from tests.integration.deliver.deliver_site import DeliverSite, ids_of
from tests.support.receiver import FailTimes, Receiver

DECLARED, GROWN = 2, 4
ENDPOINTS = 24


@pytest.mark.parametrize("names", [("deliveries",), ("retries",), ("attempts", "dead"), ("deliveries", "attempts")])
async def test_grown_topics(kafka: str, topic_prefix: str, names: tuple[str, ...]) -> None:
    """Every delivery and its retry go on, those in new partitions included, and what deliver writes is found again."""
    site = await DeliverSite(kafka, topic_prefix, partitions=DECLARED).prepare()
    async with Receiver() as receiver:
        subscribers = [site.subscribe(receiver.url(f"/{number}"), retry_delays_s=[1.0]) for number in range(ENDPOINTS)]
        async with site.deliver() as deliver:
            before = [delivery for each in subscribers for delivery in site.send(each)]
            await site.attempts(len(before))
            await deliver.kill()
            await asyncio.to_thread(grow, kafka, [topic for name in names for topic in list_topics(site, name)])
            for number in range(ENDPOINTS):
                receiver.script(f"/{number}", FailTimes(1))
            # with a producer that knows of the new partitions, and has some of them written
            other = DeliverSite(kafka, topic_prefix, partitions=DECLARED)
            after = [delivery for each in subscribers for delivery in other.send(each)]
            await deliver.start()
            attempts = await site.attempts(len(before) + 2 * len(after), timeout_s=60)

        assert ids_of(before + after) == ids_of(each for each in attempts if each.outcome == "succeeded")
        assert len(before) + 2 * len(after) == len(receiver.requests()) == len(attempts)


def list_topics(site: DeliverSite, name: str) -> list[Topic]:
    return list(site.topics.retries) if name == "retries" else [getattr(site.topics, name)]


def grow(bootstrap_servers: str, topics: list[Topic]) -> None:
    """Grow topics, as `kafka-topics --alter --partitions` does."""
    admin = AdminClient({"bootstrap.servers": bootstrap_servers}, logger=None)
    for grown in admin.create_partitions([NewPartitions(topic.name, GROWN) for topic in topics]).values():
        grown.result(30)
