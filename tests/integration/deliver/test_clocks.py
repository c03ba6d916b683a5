"""The deliver process with a clock that is set while it runs."""

import time
from collections import Counter
from pathlib import Path

import aiohttp
import pytest

from pipeline.core.records import Delivery
from tests.integration.deliver.house import SECRET, House
from tests.support.clock import Clock
from tests.support.eventually import eventually
from tests.support.python_clock import PythonClock
from tests.support.receiver import FailTimes, Receiver
from tests.support.single_process import SingleProcess
from tests.support.verification import verify_delivery

HOUR_S = 3600
DAY_S = 24 * HOUR_S
IDS = 5
RETRY_DELAYS_S = [0.5, 3.0]


async def read_degraded(process: SingleProcess) -> str:
    base = (await process.wait_ready())["metrics"].removesuffix("/metrics")
    async with aiohttp.ClientSession() as session, session.get(base + "/health") as response:
        return str(await response.json())


async def deliver_with_clock(kafka: str, topic_prefix: str, folder: Path, shift_s: int) -> None:
    """Some deliveries that fail twice, by a process whose clock is set after its start."""
    house = await House(kafka, topic_prefix).prepare()
    clock = PythonClock(folder) if shift_s > 0 else Clock(folder)
    async with Receiver() as receiver:
        receiver.script("/a", FailTimes(2 * IDS, 503))
        subscriber = house.subscribe(receiver.url("/a"), retry_delays_s=RETRY_DELAYS_S, concurrency_max=IDS)
        steady = house.subscribe(receiver.url("/b"))
        deliver = SingleProcess("deliver", house.environ() | dict(clock.environ))
        await deliver.start()
        try:
            house.send(steady)
            await house.attempts(1)
            clock.set(shift_s)
            house.send(subscriber, count=IDS)
            house.send(steady, count=IDS)
            attempts = await house.attempts(1 + IDS + 3 * IDS, timeout_s=60)
            said = await eventually(lambda: is_told(deliver))
        finally:
            # waits that are under way in librdkafka end at a time of the wall clock, and may not end in order
            await deliver.kill()

        requests = receiver.requests("/a")
        assert {3} == set(Counter(request.header("webhook-id") for request in requests).values())
        assert 3 * IDS == len(requests)
        assert 1 + IDS == len(receiver.requests("/b"))
        # what waited was written once for each failure, perhaps once more on its way to its time; not again and again
        waited = [each for tier in house.topics.retries for each in house.read(tier) if isinstance(each, Delivery)]
        assert 2 * IDS <= len(waited) <= 6 * IDS
        # a signature holds for five minutes: it is made with the log's time, which the receiver's clock agrees with
        for request in requests:
            verify_delivery(request, SECRET)
        now_us = time.time_ns() // 1000
        assert all(abs(attempt.started_at_us - now_us) < 600_000_000 for attempt in attempts)
        assert "clock is" in said


async def is_told(process: SingleProcess) -> str:
    said = await read_degraded(process)
    return said if "clock" in said else ""


@pytest.mark.parametrize("shift_s", [2 * HOUR_S, -6 * DAY_S], ids=["2h-ahead", "6d-behind"])
async def test_a_wrong_clock_changes_nothing(kafka: str, topic_prefix: str, tmp_path: Path, shift_s: int) -> None:
    """Everything is delivered, tried again when it is due, and written down; /health says how wrong the clock is."""
    await deliver_with_clock(kafka, topic_prefix, tmp_path, shift_s)
