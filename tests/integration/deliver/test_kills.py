"""The http sink dies at three points of a delivery, again and again: nothing is lost, only what was open is repeated.

`make chaos` kills it fifty times at each point, `make test` twice.
"""

import os
from collections import Counter

import pytest

from pipeline.core.records import Attempt
from tests.integration.deliver.house import House, ids_of
from tests.support.eventually import eventually
from tests.support.receiver import Receiver

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
    house = await House(kafka, topic_prefix).prepare()
    async with Receiver() as receiver:
        subscribers = [
            house.subscribe(receiver.url(f"/{number}"), concurrency_max=CONCURRENCY) for number in range(SUBSCRIBERS)
        ]
        deliveries = []
        unrecorded = 0
        process = house.deliver(WORKER_CONCURRENCY=str(CONCURRENCY), KAFKA_SESSION_TIMEOUT_S="6")
        for life in range(KILLS):
            for subscriber in subscribers:
                deliveries += house.send(subscriber, count=DELIVERIES_PER_LIFE // SUBSCRIBERS)
            # somewhere in the middle, at another place in every life
            kill_at = 10 + 7 * life % 40
            process.set("PROCESS_KILL_AT", f"{point}:{kill_at}")
            await process.start(wait_ready=False)
            assert -9 == await process.wait(timeout_s=120)
            recorded = {each.delivery_id for each in house.read(house.topics.attempts) if isinstance(each, Attempt)}
            sent = {request.header("webhook-id") for request in receiver.requests()}
            assert len(sent - recorded) <= SUBSCRIBERS * CONCURRENCY
            unrecorded += len(sent - recorded)
        process.set("PROCESS_KILL_AT", None)
        await process.start()
        attempts = await house.attempts(len(deliveries), timeout_s=120)

        def all_arrived() -> bool:
            return len({request.header("webhook-id") for request in receiver.requests()}) == len(deliveries)

        await eventually(all_arrived)
        assert 0 == await process.stop()
        arrived = Counter(request.header("webhook-id") for request in receiver.requests())

        assert ids_of(deliveries) == sorted(arrived)
        assert ids_of(deliveries) == ids_of(attempts)
        repeated = arrived.total() - len(arrived)
        assert repeated <= unrecorded, f"{repeated} requests were repeated"
