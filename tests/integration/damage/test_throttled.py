"""Brokers with quotas: a fetch beyond one is answered at once, with nothing, not even the partition asked for."""

import asyncio
import os
from uuid import uuid4

from pipeline.kafka.damage.raw_log import ANSWER_TIMEOUT_S, Piece, RawLog
from tests.integration.damage.conftest import OwnBroker
from tests.integration.deliver.deliver_site import DeliverSite, ids_of
from tests.integration.gateway.health import read_health
from tests.integration.kafka.logs import PlainClient, make_topics
from tests.integration.kafka.test_consumer import Clerk, consume
from tests.integration.matcher.matcher_site import MatcherSite
from tests.support.eventually import eventually
from tests.support.quotas import set_quota
from tests.support.receiver import Receiver

QUOTA = "hookline-look", "consumer_byte_rate"
ATTEMPTS_MAX = 20


async def test_a_throttled_fetch_waits(broker: OwnBroker, prefix: str) -> None:
    """Such an answer ended the matcher, which looked at a log that gave nothing because of the same quota."""
    site = await MatcherSite(broker.servers, prefix, partitions=1).prepare()
    site.send(str(uuid4()), 20)
    place = (site.topics.events.name, 0)

    def fetch() -> Piece:
        raw = RawLog(site.config)
        try:
            return raw.fetch(place, 0, 1_000_000)
        finally:
            raw.close()

    def fetch_until_throttled() -> str:
        for _ in range(ATTEMPTS_MAX):
            try:
                fetch()
            except TimeoutError as error:
                return str(error)
        return ""

    set_quota(broker.servers, *QUOTA, 1.0)
    try:
        reason = await asyncio.to_thread(fetch_until_throttled)
    finally:
        set_quota(broker.servers, *QUOTA, None)

    assert "a quota of the broker holds this client back" in reason
    assert 20 == (await eventually(lambda: asyncio.to_thread(fetch))).end


async def test_a_batch_that_a_quota_never_gives_holds_up_its_own_partition_only(broker: OwnBroker, prefix: str) -> None:
    """A batch of more than ten seconds of the quota is never given; smaller ones of other partitions are."""
    config, topics = await make_topics(broker.servers, prefix, partitions=2)
    client, clerk = PlainClient(broker.servers), Clerk()
    client.write(topics.events, [(None, os.urandom(200_000))], partition=0)
    client.write(topics.events, [(None, b"1")], partition=1)
    set_quota(broker.servers, *QUOTA, 1000.0)
    try:
        async with consume(config, clerk, prefix, topics.events):
            await eventually(lambda: clerk.held, timeout_s=60)
            await eventually(lambda: [1] == [record.partition for record in clerk.records], timeout_s=ANSWER_TIMEOUT_S)
            set_quota(broker.servers, *QUOTA, None)
            await eventually(lambda: 2 == len(clerk.records), timeout_s=60)
    finally:
        set_quota(broker.servers, *QUOTA, None)


async def test_a_throttled_matcher_says_so_and_goes_on(broker: OwnBroker, prefix: str) -> None:
    """Health is red while nothing is read; without the quota all events are matched, each once."""
    site = await MatcherSite(broker.servers, prefix, partitions=1).prepare()
    application_id = str(uuid4())
    site.publish(application_id, {str(uuid4()): {}})
    async with site.matcher() as matcher:
        before = site.send(application_id, 5)
        await site.dispatches(5)

        async def says_so() -> bool:
            sent.extend(site.send(application_id))
            health = await read_health(matcher)
            assert 503 == health.status, health.text
            assert "events [0] does not answer" in health.text
            return True

        sent = list(before)
        set_quota(broker.servers, None, QUOTA[1], 1.0)
        try:
            await eventually(says_so, timeout_s=120)
        finally:
            set_quota(broker.servers, None, QUOTA[1], None)
        dispatches = await site.dispatches(len(sent), timeout_s=120)

        async def is_well() -> bool:
            health = await read_health(matcher)
            assert 200 == health.status, health.text
            return True

        await eventually(is_well, timeout_s=60)

    assert sorted(event.event_id for event in sent) == sorted(dispatch.event_id for dispatch in dispatches)


async def test_a_throttled_deliver_says_so_and_goes_on(broker: OwnBroker, prefix: str) -> None:
    """A client gets no error; health is red, and without the quota everything is delivered once."""
    site = await DeliverSite(broker.servers, prefix, partitions=1).prepare()
    async with Receiver() as receiver, site.deliver() as deliver:
        subscriber = site.subscribe(receiver.url("/a"))
        sent = site.send(subscriber, count=5)
        await site.attempts(5)

        async def says_so() -> bool:
            sent.extend(site.send(subscriber))
            health = await read_health(deliver)
            assert 503 == health.status, health.text
            assert "a quota of the broker" in health.json["problems"]["quotas"]
            return True

        async def is_well() -> bool:
            health = await read_health(deliver)
            assert 200 == health.status, health.text
            return True

        set_quota(broker.servers, "hookline", QUOTA[1], 1.0)
        try:
            await eventually(says_so, timeout_s=120)
        finally:
            set_quota(broker.servers, "hookline", QUOTA[1], None)
        attempts = await site.attempts(len(sent), timeout_s=120)
        await eventually(is_well, timeout_s=120)

    assert ids_of(sent) == ids_of(attempts)
