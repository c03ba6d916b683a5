"""A whole installation on a PostgreSQL of its own, under a steady load, and what a fault of the server did to it."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import aiohttp

from tests.integration.archive.tables import count_rows
from tests.support.api import Api, Space, describe_subscription
from tests.support.beside import beside
from tests.support.eventually import eventually
from tests.support.health_watch import HealthWatch
from tests.support.kafka import report
from tests.support.pace import paced
from tests.support.postgres_server import PostgresServer
from tests.support.receiver import ReceiverProcess
from tests.support.stack import Stack, run_stack
from tests.support.steady_load import SteadyLoad, count_repeats, find_first_arrivals

TYPE = "billing.invoice.paid"
PROCESSES = ("gateway", "matcher", "deliver", "archive")
RATE_PER_S = 20.0
ASK_INTERVAL_S = 0.5
ANSWER_TIMEOUT_S = 60.0
WELL_WITHIN_S = 120.0


@dataclass(slots=True)
class Fault:
    """A fault, from `begun_s`; it was cured at `cured_s`, and all processes well again at `over_s` (monotonic)."""

    name: str
    begun_s: float
    cured_s: float = 0.0
    over_s: float = 0.0
    notes: list[str] = field(default_factory=list)

    def cure(self) -> None:
        """Note that nothing is wrong with the server any more."""
        self.cured_s = time.monotonic()


class Questions:
    """Reads and changes by the API while `run` runs: (when, what, status, seconds), status 0 without an answer."""

    def __init__(self, api: Api, space: Space, subscription: dict[str, Any], url: str) -> None:
        self._api, self._space, self._url = api, space, url
        self._subscription_id = subscription["subscription_id"]
        self.answers: list[tuple[float, str, int, float]] = []

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            async for number in paced(ASK_INTERVAL_S, skips_missed=True):
                owner = self._space.application_id
                body = describe_subscription(owner, self._url, TYPE, description=str(number))
                group.create_task(self._ask("subscriptions", "GET", f"/subscriptions?application_id={owner}"))
                group.create_task(self._ask("events", "GET", f"/events?application_id={owner}"))
                group.create_task(self._ask("change", "PUT", f"/subscriptions/{self._subscription_id}", body))

    async def _ask(self, what: str, method: str, path: str, body: dict[str, Any] | None = None) -> None:
        begun_s, status = time.monotonic(), 0
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                status = (await self._api.call(method, path, body)).status
        except (aiohttp.ClientError, TimeoutError):
            pass
        self.answers.append((begun_s, what, status, time.monotonic() - begun_s))

    def describe(self, begun_s: float, ended_s: float) -> str:
        """Answers of a time by status, and the longest wait."""
        said = []
        for what in ("subscriptions", "events", "change"):
            found = [each for each in self.answers if begun_s <= each[0] <= ended_s and each[1] == what]
            statuses = dict(Counter(each[2] for each in found))
            said.append(f"{what} {statuses} at most {max((each[3] for each in found), default=0.0):.1f} s")
        return "; ".join(said)


@dataclass(slots=True)
class Installation:
    """The server, the processes, the load of two organizations, and what is asked by the API meanwhile."""

    server: PostgresServer
    stack: Stack
    receiver: ReceiverProcess
    load: SteadyLoad
    watch: HealthWatch
    questions: Questions

    @contextmanager
    def fault(self, name: str) -> Iterator[Fault]:
        """Note a fault: it begins here, and is cured when the block is left, or where that was noted."""
        fault = Fault(name, time.monotonic())
        yield fault
        if not fault.cured_s:
            fault.cure()

    async def get_well(self, fault: Fault) -> None:
        """Wait until all processes have said, after the cure, that nothing is wrong; print the figures."""
        await eventually(lambda: self.watch.are_well(since_s=fault.cured_s), timeout_s=WELL_WITHIN_S)
        fault.over_s = time.monotonic()
        await self.load.go_on(2)
        report(self.describe(fault))

    async def check(self) -> None:
        """Check that all accepted events, and no other, were delivered and archived, and that the ledger adds up."""
        await self.load.wait_arrived(self.receiver)
        await eventually(lambda: self.load.are_archived(self.stack.database_url), timeout_s=WELL_WITHIN_S)
        assert 0 == count_rows(self.stack.database_url, "dead_letters")
        await self.load.wait_accounted(self.stack)
        assert [] == [name for name, some in self.stack.processes.items() if not all(one.is_running for one in some)]

    def describe(self, fault: Fault) -> str:
        """The figures of a fault, for people."""
        requests = self.receiver.requests()
        arrivals = find_first_arrivals(requests)
        late_s = fault.over_s - fault.cured_s
        lines = [f"{fault.name}: cured after {fault.cured_s - fault.begun_s:.1f} s, all well {late_s:.1f} s later"]
        lines.append(f"    so far {count_repeats(requests)} repeats, {len(self.load.failed)} refused")
        for what, begun_s, ended_s in (
            ("before", fault.begun_s - 5, fault.begun_s),
            ("during", fault.begun_s, fault.over_s),
        ):
            sent = {event: at for event, at in self.load.accepted.items() if begun_s <= at <= ended_s}
            took = sorted(arrivals[event] - at for event, at in sent.items() if event in arrivals)
            if took:
                lines.append(
                    f"    {what}: {len(sent)} accepted, delivered p50 {took[len(took) // 2]:.3f} s, "
                    f"p99 {took[int(len(took) * 0.99)]:.3f} s, at most {took[-1]:.3f} s"
                )
            lines.append(f"    {what}: {self.questions.describe(begun_s, ended_s)}")
        for red in self.watch.list_red(fault.begun_s, fault.over_s):
            began_s, ended_s = red.begun_s - fault.begun_s, red.ended_s - fault.cured_s
            lines.append(
                f"    {red.process} red from {began_s:.1f} s to {ended_s:+.1f} s of the cure: {dict(red.problems)}"
            )
        for name, said in self.watch.list_said(fault.begun_s, fault.over_s).items():
            lines.append(f"    {name} said {', '.join(sorted(said))}")
        return "\n".join(chain(lines, (f"    {note}" for note in fault.notes)))


@asynccontextmanager
async def run_installation(
    kafka: str, server: PostgresServer, journal: Path, *, database_at: str | None = None, **settings: str
) -> AsyncIterator[Installation]:
    """Run all processes under load. Behind the block everything that was accepted has been checked."""
    async with (
        run_stack(kafka, server.url, server.template, *PROCESSES, database_at=database_at, **settings) as stack,
        ReceiverProcess(journal) as receiver,
    ):
        spaces = (await stack.api.make_space(TYPE), await stack.api.make_space(TYPE))
        made = [await stack.api.subscribe(space, receiver.url("/a"), TYPE) for space in spaces]
        watch = HealthWatch(stack)
        questions = Questions(stack.api, spaces[1], made[1], receiver.url("/a"))
        async with beside(watch.run()), SteadyLoad(stack.api.url, spaces, TYPE, RATE_PER_S) as load:
            await load.go_on(3)
            async with beside(questions.run()):
                await load.go_on(6)
                installation = Installation(server, stack, receiver, load, watch, questions)
                yield installation
        await installation.check()
        report(f"{len(load.accepted)} accepted, refused {Counter(each[:80] for each in load.failed)}")
