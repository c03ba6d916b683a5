"""A whole installation under load in which one topic, or the database, turns against one process."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from pipeline.kafka.admin import apply_topics
from pipeline.topics import Topic
from tests.integration.archive.tables import read_rows
from tests.support.api import Space, describe_event
from tests.support.eventually import eventually
from tests.support.free_ports import find_free_port
from tests.support.pace import paced
from tests.support.receiver import Receiver
from tests.support.single_process import SingleProcess
from tests.support.stack import Stack, run_stack

PROCESSES = ("gateway", "matcher", "deliver", "archive")
TYPE = "billing.invoice.paid"
SEND_INTERVAL_S = 0.1
FIRST = 10
KILLS = 2
WITHIN_S = 120.0
SETTINGS = {"KAFKA_TOPICS_CHECK_INTERVAL_S": "1", "KAFKA_SESSION_TIMEOUT_S": "6"}

Act = Callable[["Installation"], Awaitable[None]]


@dataclass(slots=True)
class Installation:
    """Running processes; events are sent until `stopping`, and again under their id as long as they get a 503."""

    stack: Stack
    receiver: Receiver
    space: Space
    accepted: list[str] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    def process(self, name: str) -> SingleProcess:
        (process,) = self.stack.processes[name]
        return process

    async def problems(self, name: str) -> tuple[int, str]:
        """Status and problems of a process' health."""
        base = (await self.process(name).wait_ready())["metrics"].removesuffix("/metrics")
        async with aiohttp.ClientSession() as session, session.get(base + "/health") as response:
            return response.status, str((await response.json())["problems"])

    async def is_red(self, name: str, word: str) -> bool:
        status, problems = await self.problems(name)
        assert status == 503, problems
        assert word in problems, problems
        return True

    async def is_well(self, name: str) -> bool:
        status, problems = await self.problems(name)
        assert (200, "{}") == (status, problems), problems
        return True

    async def send_until_stopped(self) -> None:
        event = describe_event(self.space.application_id, TYPE)
        async for _ in paced(SEND_INTERVAL_S, skips_missed=True):
            if self.stopping.is_set():
                return
            try:
                status = (await self.stack.api.call("POST", "/event", event, token=self.space.secret)).status
            except (OSError, aiohttp.ClientError):
                status = 0  # the gateway was killed meanwhile, or is being started again
            self.statuses[status] += 1
            if status in (201, 409):
                self.accepted.append(event["event_id"])
                event = describe_event(self.space.application_id, TYPE)

    def count_requests(self) -> Counter[str]:
        """Count requests by event."""
        return Counter(request.header("X-Event-Id") for request in self.receiver.requests())

    def are_delivered(self) -> bool:
        missing = set(self.accepted) - self.count_requests().keys()
        assert not missing, f"{len(missing)} of {len(self.accepted)} are not delivered"
        return True

    async def are_archived(self, *, may_lose: bool) -> bool:
        """No accepted event is missing; with `may_lose` as many are as the ledger names, of a lost topic."""
        missing = set(self.accepted) - {str(row["event_id"]) for row in read_rows(self.stack.database_url, "attempts")}
        named = await self.count_unaccounted() if may_lose else 0
        assert len(missing) == named, f"{len(missing)} of {len(self.accepted)} are not archived, {named} are named"
        return True

    async def count_unaccounted(self) -> int:
        """Count deliveries that the ledger misses."""
        url = (await self.process("archive").wait_ready())["metrics"]
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            families = text_string_to_metric_families(await response.text())
        samples = [sample for family in families for sample in family.samples]
        return int(sum(each.value for each in samples if each.name == "hookline_unaccounted_deliveries"))

    async def make_topics_again(self) -> None:
        await asyncio.to_thread(apply_topics, self.stack.kafka, self.stack.topics)


@contextlib.asynccontextmanager
async def run_installation(kafka: str, postgres: str, template: str) -> AsyncIterator[Installation]:
    # the same port after each start of it
    settings = SETTINGS | {"GATEWAY_PORT": str(find_free_port())}
    async with run_stack(kafka, postgres, template, *PROCESSES, **settings) as stack, Receiver() as receiver:
        space = await stack.api.make_space(TYPE)
        await stack.api.subscribe(space, receiver.url("/a"), TYPE)
        yield Installation(stack, receiver, space)


@dataclass(frozen=True, slots=True)
class Result:
    """Counts of events: accepted, requests made in all, the most for one; answers of the API by status."""

    accepted: int
    requests: int
    most: int
    statuses: dict[int, int]


async def turn_against(
    installation: Installation,
    name: str,
    word: str,
    *,
    break_it: Act,
    mend_it: Act,
    kills: int = KILLS,
    may_lose: bool = False,
) -> Result:
    """Break what process `name` writes to, under load; kill it meanwhile; mend it. `word`: what its health must say."""
    sending = asyncio.create_task(installation.send_until_stopped())
    try:
        await eventually(lambda: len(installation.receiver.requests()) >= FIRST, timeout_s=WITHIN_S)
        await break_it(installation)
        await eventually(lambda: installation.is_red(name, word), timeout_s=WITHIN_S)
        for _ in range(kills):
            await installation.process(name).kill()
            await installation.process(name).start(wait_ready=False)
            await eventually(lambda: installation.is_red(name, word), timeout_s=WITHIN_S)
        await mend_it(installation)
        await eventually(lambda: installation.is_well(name), timeout_s=WITHIN_S)
        before = len(installation.accepted)
        await eventually(lambda: len(installation.accepted) > before + FIRST, timeout_s=WITHIN_S)
    finally:
        installation.stopping.set()
        await sending
    await eventually(installation.are_delivered, timeout_s=WITHIN_S)
    await eventually(lambda: installation.are_archived(may_lose=may_lose), timeout_s=WITHIN_S)
    requests = installation.count_requests()
    return Result(
        len(installation.accepted),
        requests.total(),
        max(requests.values()),
        dict(sorted(installation.statuses.items())),
    )


def topic_of(installation: Installation, name: str) -> Topic:
    """The topic that each process is kept from writing here."""
    topics = installation.stack.topics
    return {"gateway": topics.events, "matcher": topics.deliveries, "deliver": topics.attempts}[name]
