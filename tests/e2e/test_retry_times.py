"""A retry leaves when it is due: never before, and not much later, whatever becomes of who waits for that."""

import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import psycopg
import pytest

from pipeline.core.log.partition import locate_partition
from tests.support.api import Space
from tests.support.eventually import eventually
from tests.support.receiver import FailTimes, ReceiverProcess
from tests.support.single_process import SingleProcess
from tests.support.stack import PARTITIONS, Stack, run_stack

pytestmark = pytest.mark.alone

TYPE = "billing.invoice.paid"
# Enough for every partition to have some.
SUBSCRIPTIONS = 48
# The promise: a second, and a twentieth of the time that was to be waited.
LATE_MAX_US = 1_000_000
LATE_MAX_SHARE = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """`failed_at_us`, `due_at_us`: of the attempt before it, by the archive; `arrived_at_us`: by the receiver."""

    delivery_id: str
    attempt_number: int
    failed_at_us: int
    due_at_us: int
    arrived_at_us: int

    @property
    def is_early(self) -> bool:
        return self.arrived_at_us < self.due_at_us

    @property
    def is_late(self) -> bool:
        late_max_us = LATE_MAX_US + LATE_MAX_SHARE * (self.due_at_us - self.failed_at_us)
        return self.arrived_at_us > self.due_at_us + late_max_us


@dataclass(frozen=True, slots=True, kw_only=True)
class FailingSubscriptions:
    """Subscriptions in every partition that all get the event, and fail as often as their schedules have delays."""

    stack: Stack
    space: Space
    receiver: ReceiverProcess

    async def send(self) -> None:
        """Send the event; returns when every first attempt has failed, so that each delivery waits for its retry."""
        await self.stack.api.send(self.space, TYPE)
        await eventually(lambda: self._count("failed") >= SUBSCRIPTIONS, timeout_s=60)

    async def read_retries(self) -> list[Retry]:
        """All of them, after everything has succeeded: each is one request, and each request has one row."""
        await eventually(lambda: self._count("succeeded") == SUBSCRIPTIONS, timeout_s=120)
        arrivals: defaultdict[str, list[int]] = defaultdict(list)
        for request in self.receiver.requests():
            arrivals[request.header("webhook-id")].append(request.arrived_at_us)
        with psycopg.connect(self.stack.database_url) as connection:
            rows = connection.execute(
                "select delivery_id::text, attempt_number, finished_at_us, next_due_at_us from attempts"
                " where application_id = %s",
                (self.space.application_id,),
            ).fetchall()
        assert {delivery_id: len(times) for delivery_id, times in arrivals.items()} == Counter(
            delivery_id for delivery_id, *_ in rows
        )
        return [
            Retry(
                delivery_id=delivery_id,
                attempt_number=number + 1,
                failed_at_us=finished_at_us,
                due_at_us=due_at_us,
                arrived_at_us=arrivals[delivery_id][number],
            )
            for delivery_id, number, finished_at_us, due_at_us in rows
            if due_at_us is not None
        ]

    def _count(self, outcome: str) -> int:
        with psycopg.connect(self.stack.database_url) as connection:
            row = connection.execute(
                "select count(*) from attempts where application_id = %s and outcome = %s",
                (self.space.application_id, outcome),
            ).fetchone()
        assert row is not None
        count: int = row[0]
        return count


@asynccontextmanager
async def open_subscriptions(
    kafka: str,
    postgres: str,
    template: str,
    directory: Path,
    find_delays_s: Callable[[float], Sequence[Sequence[float]]],
    **settings: str,
) -> AsyncIterator[FailingSubscriptions]:
    """`find_delays_s`: the schedule of each subscription, by the seconds that all processes took to start."""
    names = ("gateway", "matcher", "deliver", "archive")
    begun_s = time.monotonic()
    async with (
        run_stack(kafka, postgres, template, *names, **settings) as stack,
        # a process of its own, so that nothing keeps it from seeing when something arrives
        ReceiverProcess(directory / "journal") as receiver,
    ):
        space = await stack.api.make_space(TYPE)
        keys = []
        for number, schedule in enumerate(find_delays_s(time.monotonic() - begun_s)):
            await receiver.script(f"/{number}", FailTimes(len(schedule)))
            url, delivery = receiver.url(f"/{number}"), {"retry_delays_s": list(schedule)}
            made = await stack.api.subscribe(space, url, TYPE, delivery=delivery)
            keys.append(made["subscription_id"].encode())
        assert set(range(PARTITIONS)) == {locate_partition(key, PARTITIONS) for key in keys}
        yield FailingSubscriptions(stack=stack, space=space, receiver=receiver)


async def count_attempts(process: SingleProcess) -> int:
    """How many attempts this process has made."""
    address = (await process.wait_ready())["metrics"]
    async with aiohttp.ClientSession() as session, session.get(address) as response:
        lines = (await response.text()).splitlines()
    return sum(int(float(line.split()[-1])) for line in lines if line.startswith("hookline_attempts_total{"))


async def test_retries_leave_when_they_are_due(
    kafka: str, postgres: str, migrated_template: str, tmp_path: Path
) -> None:
    """Every retry of a schedule: after the time that the archive names, within a second and 5 % of the wait."""
    delays_s = [[3.0, 5.0, 8.0]] * SUBSCRIPTIONS
    async with open_subscriptions(kafka, postgres, migrated_template, tmp_path, lambda _: delays_s) as subscriptions:
        await subscriptions.send()
        retries = await subscriptions.read_retries()

        assert SUBSCRIPTIONS * 3 == len(retries)
        assert [] == [retry for retry in retries if retry.is_early]
        assert [] == [retry for retry in retries if retry.is_late]


@pytest.mark.parametrize("ends_by", ["SIGTERM", "SIGKILL"])
async def test_retries_leave_when_they_are_due_after_a_restart(
    kafka: str, postgres: str, migrated_template: str, tmp_path: Path, ends_by: str
) -> None:
    """Retries that fall due after a restart of deliver leave in time, once each.

    A process that is killed does not leave the group: its partitions have no owner until its session times out, and
    retries due until then are late. So none is due here before there is an owner again, which is asserted as well.
    """

    def find_delays_s(started_within_s: float) -> list[list[float]]:
        return [[max(18.0, 10.0 + 2 * started_within_s)]] * SUBSCRIPTIONS

    async with open_subscriptions(
        kafka, postgres, migrated_template, tmp_path, find_delays_s, KAFKA_SESSION_TIMEOUT_S="6"
    ) as subscriptions:
        await subscriptions.send()
        (deliver,) = subscriptions.stack.processes["deliver"]
        if ends_by == "SIGTERM":
            assert 0 == await deliver.stop()
        else:
            await deliver.kill()
        await deliver.start()
        owned_from_us = time.time_ns() // 1000
        retries = await subscriptions.read_retries()

        assert owned_from_us < min(retry.due_at_us for retry in retries)
        assert SUBSCRIPTIONS == len(retries)
        assert [] == [retry for retry in retries if retry.is_early]
        assert [] == [retry for retry in retries if retry.is_late]


async def test_retries_leave_when_they_are_due_during_rebalances(
    kafka: str, postgres: str, migrated_template: str, tmp_path: Path
) -> None:
    """A second process takes half of the partitions over, and gives them back, while retries fall due all the time.

    Partitions in a rebalance have no owner for up to a second; retries due then have that much less left of their time.
    """
    # the first ones spread evenly over a time in which both rebalances lie
    delays_s = [[12.0 + 14.0 * number / SUBSCRIPTIONS, 12.0] for number in range(SUBSCRIPTIONS)]
    async with open_subscriptions(kafka, postgres, migrated_template, tmp_path, lambda _: delays_s) as subscriptions:
        await subscriptions.send()
        await eventually(lambda: len(subscriptions.receiver.requests()) > SUBSCRIPTIONS)
        async with SingleProcess("deliver", subscriptions.stack.environ) as second:

            async def has_taken_over() -> bool:
                return await count_attempts(second) >= 5

            await eventually(has_taken_over)
            assert 0 == await second.stop()
        retries = await subscriptions.read_retries()

        assert SUBSCRIPTIONS * 2 == len(retries)
        assert [] == [retry for retry in retries if retry.is_early]
        assert [] == [retry for retry in retries if retry.is_late]
