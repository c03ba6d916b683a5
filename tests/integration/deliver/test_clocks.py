"""The deliver process with a clock that is set while it runs."""

import asyncio
import time
from collections import Counter
from pathlib import Path

import aiohttp
import pytest

from pipeline.core.events.records import Delivery, EndpointState
from tests.integration.deliver.deliver_site import SECRET, DeliverSite
from tests.support.eventually import eventually
from tests.support.kafka import alter_topic
from tests.support.python_clock import PythonClock
from tests.support.receiver import FailTimes, Ok, Receiver, Status, TooMany
from tests.support.single_process import SingleProcess
from tests.support.verification import verify_delivery

HOUR_S = 3600
DAY_S = 24 * HOUR_S
IDS = 5
RETRY_DELAYS_S = [0.5, 3.0]
RATE_PER_S, LIMITED = 5, 15
BACK_OFF_S = 2
BROKEN_TIMES = 4
ENDPOINTS, FAILURES = 3, 7
WITHIN_S = 60.0
# how late the first of several requests may be noticed by the receiver
SLACK_S = 1.0


async def read_degraded(process: SingleProcess) -> str:
    base = (await process.wait_ready())["metrics"].removesuffix("/metrics")
    async with aiohttp.ClientSession() as session, session.get(base + "/health") as response:
        return str(await response.json())


async def deliver_with_clock(kafka: str, topic_prefix: str, folder: Path, shift_s: int) -> None:
    """Some deliveries that fail twice, by a process whose clock is set after its start."""
    site = await DeliverSite(kafka, topic_prefix).prepare()
    clock = PythonClock(folder)
    async with Receiver() as receiver:
        receiver.script("/a", FailTimes(2 * IDS, 503))
        subscriber = site.subscribe(receiver.url("/a"), retry_delays_s=RETRY_DELAYS_S, concurrency_max=IDS)
        steady = site.subscribe(receiver.url("/b"))
        deliver = SingleProcess("deliver", site.environ(KAFKA_SESSION_TIMEOUT_S="6") | dict(clock.environ))
        await deliver.start()
        try:
            site.send(steady)
            await site.attempts(1)
            clock.set(shift_s)
            if shift_s < 0:
                await end_and_start_again(deliver)
            site.send(subscriber, count=IDS)
            site.send(steady, count=IDS)
            attempts = await site.attempts(1 + IDS + 3 * IDS, timeout_s=60)
            said = await eventually(lambda: is_told(deliver))
        finally:
            await deliver.stop()

        requests = receiver.requests("/a")
        assert {3} == set(Counter(request.header("webhook-id") for request in requests).values())
        assert 3 * IDS == len(requests)
        assert 1 + IDS == len(receiver.requests("/b"))
        # what waited was written once for each failure, perhaps once more on its way to its time; not again and again
        waited = [each for tier in site.topics.retries for each in site.read(tier) if isinstance(each, Delivery)]
        assert 2 * IDS <= len(waited) <= 6 * IDS
        # a signature holds for five minutes: it is made with the log's time, which the receiver's clock agrees with
        for request in requests:
            verify_delivery(request, SECRET)
        now_us = time.time_ns() // 1000
        assert all(abs(attempt.started_at_us - now_us) < 600_000_000 for attempt in attempts)
        assert "clock is" in said


async def end_and_start_again(process: SingleProcess) -> None:
    """The process whose clock was set back ends by itself, with the reason, and starts again as under a supervisor."""
    assert 1 == await process.wait(timeout_s=WITHIN_S)
    assert "was set back by" in process.log()
    await process.start()


async def is_told(process: SingleProcess) -> str:
    said = await read_degraded(process)
    return said if "clock" in said else ""


@pytest.mark.parametrize("shift_s", [2 * HOUR_S, -6 * DAY_S], ids=["2h-ahead", "6d-behind"])
async def test_a_wrong_clock_changes_nothing(kafka: str, topic_prefix: str, tmp_path: Path, shift_s: int) -> None:
    """Everything is delivered, tried again when it is due, and written down; /health says how wrong the clock is."""
    await deliver_with_clock(kafka, topic_prefix, tmp_path, shift_s)


@pytest.mark.parametrize("shift_s", [40 * DAY_S, -40 * DAY_S], ids=["40d-ahead", "40d-behind"])
async def test_gates_go_by_no_wall_clock(kafka: str, topic_prefix: str, tmp_path: Path, shift_s: int) -> None:
    """A rate holds, an endpoint that asks for time gets it, a breaker opens and closes: as long as it should be."""
    site = await DeliverSite(kafka, topic_prefix).prepare()
    clock = PythonClock(tmp_path)
    clock.set(min(0, shift_s))  # behind from its start: set back, it would end
    async with Receiver() as receiver:
        receiver.script("/busy", TooMany(BACK_OFF_S), Ok())
        receiver.script("/broken", FailTimes(BROKEN_TIMES, 503))
        limited = site.subscribe(receiver.url("/limited"), rate_per_s=RATE_PER_S)
        busy = site.subscribe(receiver.url("/busy"), retry_delays_s=[0.1] * 3)
        broken = site.subscribe(receiver.url("/broken"), retry_delays_s=[0.1] * (BROKEN_TIMES + 1), concurrency_max=1)
        deliver = SingleProcess("deliver", site.environ(KAFKA_SESSION_TIMEOUT_S="6") | dict(clock.environ))
        async with deliver:
            site.send(limited)
            await site.attempts(1)
            clock.set(shift_s)
            site.send(busy)
            site.send(broken)
            # not on this loop, which the receiver shares: it would notice the first ones late
            await asyncio.to_thread(site.send, limited, count=LIMITED)
            await eventually(lambda: len(receiver.requests("/limited")) == 1 + LIMITED, timeout_s=WITHIN_S)
            await eventually(lambda: len(receiver.requests("/busy")) == 2, timeout_s=WITHIN_S)
            await eventually(lambda: len(receiver.requests("/broken")) == BROKEN_TIMES + 1, timeout_s=WITHIN_S)
            await site.attempts(1 + LIMITED + 2 + BROKEN_TIMES + 1)

        times_s = [request.arrived_monotonic_s for request in receiver.requests("/limited")[1:]]
        first, second = receiver.requests("/busy")
        # a second's worth may go at once
        assert times_s[-1] - times_s[0] >= (LIMITED - RATE_PER_S) / RATE_PER_S - SLACK_S
        assert second.arrived_monotonic_s - first.arrived_monotonic_s >= BACK_OFF_S - SLACK_S
        assert 1 == len({request.header("webhook-id") for request in receiver.requests("/broken")})


async def test_a_clock_that_jumps_over_days_disables_nobody(kafka: str, topic_prefix: str, tmp_path: Path) -> None:
    """Six days behind when endpoints begin to fail, right again while they do: they have failed for seconds.

    Most endpoints are well, so that it is not ourselves who are suspected.
    """
    site = await DeliverSite(kafka, topic_prefix).prepare()
    clock = PythonClock(tmp_path)
    clock.set(-6 * DAY_S)
    async with Receiver() as receiver:
        receiver.script("/failing*", Status(500))
        well = [site.subscribe(receiver.url(f"/well/{number}")) for number in range(3 * ENDPOINTS)]
        failing = [
            site.subscribe(receiver.url(f"/failing/{number}"), retry_delays_s=[0.1] * FAILURES)
            for number in range(ENDPOINTS)
        ]
        async with SingleProcess("deliver", site.environ() | dict(clock.environ)) as deliver:
            for subscriber in well + failing:
                site.send(subscriber)
            await eventually(lambda: all(len(receiver.requests(f"/failing/{n}")) >= 2 for n in range(ENDPOINTS)))
            clock.set(0)
            attempts = await site.attempts(ENDPOINTS * (3 + 1 + FAILURES), timeout_s=WITHIN_S)
            assert deliver.is_running
        states = [state for state in site.read(site.topics.endpoint_states) if isinstance(state, EndpointState)]

    assert {each.subscription_id for each in failing} <= {state.subscription_id for state in states}
    assert {None} == {state.disable_reason for state in states}
    assert {"succeeded", "failed"} == {attempt.outcome for attempt in attempts}


async def test_a_brokers_clock_that_was_ahead_holds_up_no_retries(kafka: str, topic_prefix: str) -> None:
    """Deliveries were parked while it was half an hour ahead: they go, and so do retries of others behind them."""
    site = await DeliverSite(kafka, topic_prefix, partitions=1).prepare()
    tier = site.topics.retries[0]
    async with Receiver() as receiver:
        receiver.script("/b", FailTimes(1, 503))
        parked, other = site.subscribe(receiver.url("/a")), site.subscribe(receiver.url("/b"), retry_delays_s=[1.0])
        await alter_topic(kafka, tier, "message.timestamp.type", "CreateTime")
        for number in range(IDS):
            ahead_ms = round(time.time() * 1000) + 500 * HOUR_S + number
            site.send(parked, topic=tier, timestamp_ms=ahead_ms)
        await alter_topic(kafka, tier, "message.timestamp.type", "LogAppendTime")
        async with site.deliver():
            site.send(other)
            await eventually(lambda: len(receiver.requests("/b")) == 2, timeout_s=WITHIN_S)
            await eventually(lambda: len(receiver.requests("/a")) == IDS, timeout_s=WITHIN_S)
            await site.attempts(IDS + 2)
