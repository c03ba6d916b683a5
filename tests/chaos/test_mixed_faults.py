"""Faults drawn at random, one after the other and two at a time: nothing accepted is lost, whatever comes together.

The seed of a draw is in the test's name; `HOOKLINE_TEST_FAULTS` says how many faults (12 by default).
"""

import asyncio
import contextlib
import json
import os
import random
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import psycopg
import pytest

from tests.chaos.mixed_faults import COUNTS, Faults
from tests.support.api import Api, Space, describe_event, describe_subscription
from tests.support.commands import run_hookline
from tests.support.eventually import eventually
from tests.support.pace import paced
from tests.support.processes import HooklineUp
from tests.support.receiver import Hang, ReceiverProcess, Reset, Status, Step
from tests.support.steady_load import count_repeats

TYPE = "billing.invoice.paid"
FAULTS = int(os.environ.get("HOOKLINE_TEST_FAULTS", "12"))
RATE_PER_S = 15.0
AT_REST_S = 240.0
TOPICS = ("hookline.events", "hookline.deliveries", "hookline.attempts", "hookline.dispatches")
SEEDS = [int(each) for each in os.environ.get("HOOKLINE_TEST_SEEDS", "1,2,3").split(",")]
# so few that the matcher parks, too
SETTINGS = {"HOOKLINE_KAFKA_SESSION_TIMEOUT_S": "6", "HOOKLINE_MATCHER_UNSETTLED_MAX": "200"}
RETRIES_S = [1, 1, 2, 2, 3, 5, 5, 10, 10, 10, 20, 20, 20, 20, 20, 20, 20, 20]
HEALTHY = ("/healthy/0", "/healthy/1")
ARCHIVED = "select event_id from events where application_id = %s"
FLAKY = ("/flaky/0", "/flaky/1")
HOSTILE: dict[str, Step] = {"/hostile/0": Hang(), "/hostile/1": Status(500), "/hostile/2": Reset()}


class Load:
    """Events at a steady rate, each sent again until it is accepted, and changes of subscriptions meanwhile."""

    def __init__(self, up: HooklineUp, spaces: Sequence[Space]) -> None:
        self._up, self._spaces = up, spaces
        self.accepted: dict[str, set[str]] = {space.application_id: set() for space in spaces}
        self.payloads: dict[str, str] = {}

    @contextlib.asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Send within the block; behind it everything that was sent is accepted."""
        ending = asyncio.Event()
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session,
            asyncio.TaskGroup() as group,
        ):

            async def send_all() -> None:
                async for number in paced(1 / RATE_PER_S):
                    if ending.is_set():
                        return
                    group.create_task(self._send(session, self._spaces[number % len(self._spaces)]))

            group.create_task(send_all())
            try:
                yield
            finally:
                ending.set()

    async def _send(self, session: aiohttp.ClientSession, space: Space) -> None:
        event_id = str(uuid4())
        payload = self.payloads[event_id] = json.dumps({"event": event_id, "fill": event_id * 20})
        body = describe_event(space.application_id, TYPE, event_id=event_id, payload=payload)
        headers = {"Authorization": f"Bearer {space.secret}"}
        async for number in paced(0.5, skips_missed=True):
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with session.post(f"{self._up.report.api}/event", json=body, headers=headers) as answer:
                    text = await answer.text()
                    if answer.status == 201 or (answer.status == 409 and number):
                        self.accepted[space.application_id].add(event_id)
                        return
                    # 413: the topic takes no records of this size now
                    assert answer.status in (413, 500, 503), f"{answer.status}: {text}"


async def subscribe(api: Api, space: Space, url: str) -> dict[str, Any]:
    body = {"application_id": space.application_id, "name": uuid4().hex, "retry_delays_s": RETRIES_S}
    schedule = (await api.call("POST", "/retry_schedules", body)).json
    return await api.subscribe(space, url, TYPE, retry_schedule_id=schedule["retry_schedule_id"])


@pytest.mark.parametrize("seed", SEEDS)
async def test_nothing_is_lost_whatever_comes_together(tmp_path: Path, seed: int) -> None:
    """A healthy, a flaky and a hostile application; in the end everything adds up and every process is well."""
    counts = [word for name, count in COUNTS.items() for word in (f"--{name}", str(count))]
    async with (
        HooklineUp("--no-demo", *counts, environ=SETTINGS) as up,
        ReceiverProcess(tmp_path / "journal") as receiver,
    ):
        async with Api(up.report.api, up.report.master_api_key) as api:
            spaces = [await api.make_space(TYPE) for _ in range(3)]
            applications = {}
            for space, paths in zip(spaces, (HEALTHY, FLAKY), strict=False):
                for path in paths:
                    applications[path] = space.application_id
                    await subscribe(api, space, receiver.url(path))
            hostile = {}
            for path, answer in HOSTILE.items():
                await receiver.script(path, answer)
                made = await subscribe(api, spaces[-1], receiver.url(path))
                body = describe_subscription(spaces[-1].application_id, receiver.url(path), TYPE)
                hostile[made["subscription_id"]] = body
        faults = Faults(up=up, receiver=receiver, topics=TOPICS, flaky=FLAKY, hostile=hostile, draw=random.Random(seed))
        load = Load(up, spaces)
        async with load.run():
            await strike(faults)
        sys.stdout.write(f"accepted {[len(each) for each in load.accepted.values()]}\n")
        await wait_until_well(up)
        await wait_delivered(receiver, load, applications)
        await wait_accounted(up, load)
        repeats = count_repeats([each for each in receiver.requests() if each.path in HEALTHY])
        sys.stdout.write(f"{repeats} requests to healthy endpoints were repeated\n")


async def strike(faults: Faults) -> None:
    """Let one, two or three faults come together, again and again."""
    begun_s = time.monotonic()
    for number in range(FAULTS):
        together = faults.draw.choice((1, 1, 2, 3))
        for said in await asyncio.gather(*(faults.strike() for _ in range(together))):
            sys.stdout.write(f"{time.monotonic() - begun_s:6.1f} s  {number:3}  {said}\n")
            sys.stdout.flush()
        await asyncio.sleep(faults.draw.uniform(0, 5))


async def wait_until_well(up: HooklineUp) -> None:
    """Wait until every process says that it is well."""

    async def is_well() -> bool:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
            for name, url in up.report.metrics.items():
                try:
                    async with session.get(url.replace("/metrics", "/health")) as answer:
                        assert answer.status == 200, f"{name}: {await answer.text()}"
                except (aiohttp.ClientError, TimeoutError) as error:
                    raise AssertionError(f"{name}: {error!r}") from error
        return True

    await eventually(is_well, timeout_s=AT_REST_S)


async def wait_delivered(receiver: ReceiverProcess, load: Load, applications: Mapping[str, str]) -> None:
    """Wait until every accepted event has come to these paths, given with the application of each, as it was sent."""

    def is_delivered() -> bool:
        arrived = {path: {each.header("X-Event-Id") for each in receiver.requests(path)} for path in applications}
        missing = {path: len(load.accepted[owner] - arrived[path]) for path, owner in applications.items()}
        assert not any(missing.values()), f"not arrived: {missing}"
        return True

    await eventually(is_delivered, timeout_s=AT_REST_S)
    assert [] == [
        request
        for request in receiver.requests()
        if request.body.decode() != load.payloads[request.header("X-Event-Id")]
    ]


async def wait_accounted(up: HooklineUp, load: Load) -> None:
    """Wait until the ledger adds up, what is published is as in the database, and the archive has every event."""

    environ = {
        "HOOKLINE_KAFKA_BOOTSTRAP_SERVERS": up.report.kafka,
        "HOOKLINE_DATABASE_WRITE_URL": up.report.database_url,
    }

    async def has_no_complaint(command: str) -> bool:
        ended = await run_hookline(command, "--json", environ=environ)
        assert ended.code == 0, ended.out + ended.err
        return True

    await eventually(lambda: has_no_complaint("ledger"), timeout_s=AT_REST_S)
    await eventually(lambda: has_no_complaint("doctor"), timeout_s=AT_REST_S)
    with psycopg.connect(up.report.database_url) as connection:
        archived = {
            owner: {
                str(row[0])
                for row in connection.execute("select event_id from events where application_id = %s", (owner,))
            }
            for owner in load.accepted
        }
    assert load.accepted == archived
