"""The http sink dies at three points of a delivery, again and again: nothing is lost, only what was open is repeated.

`make chaos` kills it fifty times at each point, `make test` twice.
"""

import os
from collections import Counter

import pytest

from pipeline.core.events.records import Attempt
from tests.integration.deliver.deliver_site import DeliverSite, ids_of
from tests.support.eventually import eventually
from tests.support.receiver import FailTimes, Ok, Receiver
from tests.support.single_process import START_TIMEOUT_S

KILLS = int(os.environ.get("HOOKLINE_TEST_KILLS", "2"))
SUBSCRIBERS = 3
DELIVERIES_PER_LIFE = 60
# what one endpoint may have open; without a bound of its own it would grow with every success
CONCURRENCY = 8


@pytest.mark.parametrize("point", ["before_sending", "after_sending", "after_recording"])
async def test_kills_at_named_points(kafka: str, topic_prefix: str, point: str) -> None:
    """Every delivery is attempted and recorded once; what was recorded when it died is not repeated.

    What was not are the open requests: one is open until its attempt is recorded.
    """
    site = await DeliverSite(kafka, topic_prefix).prepare()
    async with Receiver() as receiver:
        subscribers = [
            site.subscribe(receiver.url(f"/{number}"), concurrency_max=CONCURRENCY) for number in range(SUBSCRIBERS)
        ]
        deliveries = []
        unrecorded = 0
        process = site.deliver(WORKER_CONCURRENCY=str(CONCURRENCY), KAFKA_SESSION_TIMEOUT_S="6")
        for life in range(KILLS):
            for subscriber in subscribers:
                deliveries += site.send(subscriber, count=DELIVERIES_PER_LIFE // SUBSCRIBERS)
            # somewhere in the middle, at another place in every life
            kill_at = 10 + 7 * life % 40
            process.set("PROCESS_KILL_AT", f"{point}:{kill_at}")
            await process.start(wait_ready=False)
            assert -9 == await process.wait(timeout_s=START_TIMEOUT_S)
            # what it sent has been received when all of its connections have ended
            await eventually(lambda: receiver.open_connections == 0)
            recorded = {each.delivery_id for each in site.read(site.topics.attempts) if isinstance(each, Attempt)}
            sent = {request.header("webhook-id") for request in receiver.requests()}
            assert len(sent - recorded) <= SUBSCRIBERS * CONCURRENCY
            unrecorded += len(sent - recorded)
        process.set("PROCESS_KILL_AT", None)
        await process.start()
        attempts = await site.attempts(len(deliveries), timeout_s=120)

        def all_arrived() -> bool:
            return len({request.header("webhook-id") for request in receiver.requests()}) == len(deliveries)

        await eventually(all_arrived)
        assert 0 == await process.stop()
        arrived = Counter(request.header("webhook-id") for request in receiver.requests())

        assert ids_of(deliveries) == sorted(arrived)
        assert ids_of(deliveries) == ids_of(attempts)
        repeated = arrived.total() - len(arrived)
        assert repeated <= unrecorded, f"{repeated} requests were repeated"


async def test_kills_between_a_retry_and_its_attempt(kafka: str, topic_prefix: str) -> None:
    """The retry is in the log and the attempt that led to it is not: it is made again, and leads to another copy.

    The chain does not fork all the same: copies share the ids of their attempts, and each of these is made once.
    """
    site = await DeliverSite(kafka, topic_prefix, partitions=1).prepare()
    async with Receiver() as receiver:
        receiver.script("/a", FailTimes(KILLS + 3), Ok())
        subscriber = site.subscribe(receiver.url("/a"), retry_delays_s=[1.0] * (KILLS + 5), concurrency_max=1)
        site.send(subscriber)
        process = site.deliver(KAFKA_SESSION_TIMEOUT_S="6")
        process.set("PROCESS_KILL_AT", "after_successor:1")
        for _ in range(KILLS):
            await process.start(wait_ready=False)
            assert -9 == await process.wait(timeout_s=START_TIMEOUT_S)
        process.set("PROCESS_KILL_AT", None)
        await process.start()
        tier = site.topics.retries[0]
        retries = await eventually(lambda: find_retries(site, succeeded=True))
        # the copies that are left come due meanwhile
        await eventually(lambda: site.lag(tier) == 0, timeout_s=60)
        assert 0 == await process.stop()
        attempts = [each for each in site.read(site.topics.attempts) if isinstance(each, Attempt)]

    # a copy may be due before the first attempt is made again
    attempts.sort(key=lambda each: each.attempt_number)
    assert [1, 2, 3, 4] == [each.attempt_number for each in attempts]
    assert ["failed", "failed", "failed", "succeeded"] == [each.outcome for each in attempts]
    assert KILLS + 4 == receiver.received
    assert KILLS + 3 <= retries


def find_retries(site: DeliverSite, *, succeeded: bool) -> int:
    """How many copies of retries were written, once the delivery has succeeded."""
    attempts = [each for each in site.read(site.topics.attempts) if isinstance(each, Attempt)]
    assert succeeded == any(each.outcome == "succeeded" for each in attempts)
    return len(site.read(site.topics.retries[0]))
