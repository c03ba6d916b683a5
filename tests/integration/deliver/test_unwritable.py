"""A log that does not take what deliver writes: nothing is sent without end, nothing is lost, and it is said.

Requests are counted by `webhook-id`. The refusals are a real broker's, by a setting of the topic.
"""

import os
import re
from collections import Counter

import aiohttp
import pytest

from pipeline.core.events.records import DeadLetter
from pipeline.topics import Topic
from tests.integration.deliver.deliver_site import DeliverSite
from tests.support.eventually import eventually
from tests.support.kafka import alter_topic
from tests.support.receiver import Receiver, Status
from tests.support.single_process import SingleProcess

IDS = 30
KILLS = 1  # more in tests/chaos


def count_requests(receiver: Receiver) -> Counter[str]:
    return Counter(request.header("webhook-id") for request in receiver.requests())


async def read_problems(process: SingleProcess) -> str:
    """Return the problems that /health names while it is red; else nothing."""
    base = (await process.wait_ready())["metrics"].removesuffix("/metrics")
    async with aiohttp.ClientSession() as session, session.get(base + "/health") as response:
        return str((await response.json())["problems"]) if response.status == 503 else ""


async def refuse_all(kafka: str, topic: Topic) -> None:
    """The smallest record there is has more bytes."""
    await alter_topic(kafka, topic, "max.message.bytes", "50")


async def take_all(kafka: str, topic: Topic) -> None:
    await alter_topic(kafka, topic, "max.message.bytes", str(4 * 1024 * 1024))


async def test_what_cannot_be_written_down_is_not_sent_without_end(kafka: str, topic_prefix: str) -> None:
    """The topic of attempts turns against deliver while it works, and it is killed again and again meanwhile.

    Each delivery is sent twice at most, and not at all by a process that cannot write. /health names topic and reason.
    When the topic is well again all is delivered and written down, without an operator's action.
    """
    site = await DeliverSite(kafka, topic_prefix).prepare()
    async with Receiver() as receiver:
        subscriber = site.subscribe(receiver.url("/a"))
        deliver = site.deliver(KAFKA_TOPICS_CHECK_INTERVAL_S="1", KAFKA_SESSION_TIMEOUT_S="6")
        await deliver.start()
        try:
            site.send(subscriber)
            await site.attempts(1)
            await refuse_all(kafka, site.topics.attempts)
            sent = site.send(subscriber, count=IDS)

            async def is_said() -> bool:
                problems = await read_problems(deliver)
                return site.topics.attempts.name in problems and "MSG_SIZE_TOO_LARGE" in problems

            await eventually(is_said)
            first: Counter[str] | None = None
            for _ in range(KILLS):
                await deliver.kill()
                # what it sent has been received when all of its connections have ended
                await eventually(lambda: receiver.open_connections == 0)
                first = count_requests(receiver) if first is None else first
                await deliver.start(wait_ready=False)
                await eventually(is_said, timeout_s=60)
                await eventually(lambda: has_held_back(deliver), timeout_s=60)
            refused = count_requests(receiver)
            await take_all(kafka, site.topics.attempts)
            attempts = await site.attempts(IDS + 1)
            await eventually(lambda: is_well(deliver))
        finally:
            await deliver.stop()

        assert first == refused  # no process that cannot write has sent anything
        requests = count_requests(receiver)
        assert {delivery.delivery_id for delivery in sent} <= requests.keys()
        assert max(requests.values()) <= 2
        assert {"succeeded"} == {attempt.outcome for attempt in attempts}
        assert IDS + 1 == len({attempt.delivery_id for attempt in attempts})


async def has_held_back(process: SingleProcess) -> bool:
    """Did deliver have deliveries in hand, and find once more that it cannot write? It would have sent them by then."""
    address = (await process.wait_ready())["metrics"]
    async with aiohttp.ClientSession() as session, session.get(address) as response:
        in_hand = re.search(r"^hookline_in_flight (\d+)", await response.text(), re.MULTILINE)
    if in_hand is None or int(in_hand[1]) == 0:
        return False
    tried = process.log().count("outcome_not_writable")
    return await eventually(lambda: process.log().count("outcome_not_writable") > tried)


def read_letters(site: DeliverSite) -> list[DeadLetter]:
    return [record for record in site.read(site.topics.dead) if isinstance(record, DeadLetter)]


async def is_well(process: SingleProcess) -> bool:
    problems = await read_problems(process)
    assert problems == "", problems
    return True


@pytest.mark.parametrize("which", ["retries", "dead"])
async def test_any_topic_of_an_outcome_stops_sending(kafka: str, topic_prefix: str, which: str) -> None:
    """A retry, a dead letter: what a request might lead to can be written, or it is not made."""
    site = await DeliverSite(kafka, topic_prefix).prepare()
    topic = site.topics.dead if which == "dead" else site.topics.retries[3]
    await refuse_all(kafka, topic)
    async with Receiver() as receiver:
        subscriber = site.subscribe(receiver.url("/a"))
        async with site.deliver() as deliver:
            site.send(subscriber, count=3)

            async def is_said() -> bool:
                return topic.name in await read_problems(deliver)

            await eventually(is_said)
            before = len(receiver.requests())
            await take_all(kafka, topic)
            await site.attempts(3)

        assert 0 == before
        assert 3 == len(receiver.requests())


async def test_an_attempt_that_is_too_large_is_written_smaller(kafka: str, topic_prefix: str) -> None:
    """One endpoint's long answers are cut for good; nothing else waits for it, and nothing is sent again."""
    site = await DeliverSite(kafka, topic_prefix).prepare()
    await alter_topic(kafka, site.topics.attempts, "max.message.bytes", "4000")
    async with Receiver() as receiver:
        receiver.script("/long", Status(200, body=os.urandom(15_000)))
        long, short = site.subscribe(receiver.url("/long")), site.subscribe(receiver.url("/short"))
        async with site.deliver():
            site.send(long, count=5)
            site.send(short, count=5)
            attempts = await site.attempts(10)

        by_id = {attempt.delivery_id: attempt for attempt in attempts}
        assert 10 == len(by_id)
        assert {1} == set(count_requests(receiver).values())
        assert {b"", b"ok"} == {attempt.response_body for attempt in attempts}
        assert {200} == {attempt.response_status for attempt in attempts}


async def test_a_retry_that_is_too_large_is_a_dead_letter(kafka: str, topic_prefix: str) -> None:
    """The dead letter has the reason and the delivery, so that it can be sent again."""
    site = await DeliverSite(kafka, topic_prefix).prepare()
    await alter_topic(kafka, site.topics.retries[0], "max.message.bytes", "2000")
    async with Receiver() as receiver:
        receiver.script("/a", Status(500))
        subscriber = site.subscribe(receiver.url("/a"), retry_delays_s=[1.0, 1.0])
        async with site.deliver():
            payload = f'"{os.urandom(3000).hex()}"'.encode()
            (large,) = site.send(subscriber, payload=payload)
            letters = await eventually(lambda: read_letters(site))
            await site.attempts(1)

        assert ["refused_by_log"] == [letter.reason for letter in letters]
        assert [large.delivery_id] == [letter.delivery_id for letter in letters]
        assert site.topics.retries[0].name in letters[0].detail
        assert letters[0].source_value is not None
        assert payload in letters[0].source_value
        assert 1 == len(receiver.requests())
