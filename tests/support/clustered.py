"""A whole installation on a cluster of three nodes, under a steady load, and what a fault of the cluster did to it."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from tests.integration.archive.tables import count_rows
from tests.support.beside import beside
from tests.support.commands import run_ledger
from tests.support.eventually import eventually
from tests.support.health_watch import HealthWatch
from tests.support.kafka_cluster import KafkaCluster
from tests.support.receiver import ReceiverProcess
from tests.support.single_process import SingleProcess
from tests.support.stack import Stack, run_stack
from tests.support.steady_load import SteadyLoad, find_first_arrivals

TYPE = "billing.invoice.paid"
PROCESSES = ("gateway", "matcher", "deliver", "archive")
APPLICATIONS = 8  # over 4 partitions
WELL_WITHIN_S = 120.0


@dataclass(slots=True)
class Fault:
    """A fault of the cluster, from `begun_s`; nothing was wrong with it any more at `cured_s` (monotonic)."""

    name: str
    begun_s: float
    refused_before: int
    cured_s: float = 0.0
    over_s: float = 0.0  # all processes were well again
    refused: int = 0
    notes: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Installation:
    """`faults`: in the order in which they happened."""

    cluster: KafkaCluster
    stack: Stack
    receiver: ReceiverProcess
    load: SteadyLoad
    watch: HealthWatch
    faults: list[Fault] = field(default_factory=list)

    def place(self, partition: int = 0) -> tuple[str, int]:
        """A partition of the events topic."""
        return self.stack.topics.events.name, partition

    def group(self, name: str) -> str:
        return f"{self.stack.kafka.topic_prefix}{name}"

    @contextmanager
    def fault(self, name: str) -> Iterator[Fault]:
        """Note a fault: it begins here, and is cured when the block is left."""
        fault = Fault(name, time.monotonic(), len(self.load.failed))
        self.faults.append(fault)
        yield fault
        fault.cured_s = time.monotonic()

    async def get_well(self, seconds: float) -> None:
        """Wait until the cluster is whole, all processes are well, and events went through for so many seconds."""
        await self.cluster.wait_whole()
        await self.load.go_on(seconds)
        await eventually(self.watch.are_well, timeout_s=WELL_WITHIN_S)
        fault = self.faults[-1]
        fault.over_s = time.monotonic()
        fault.refused = len(self.load.failed) - fault.refused_before

    async def start_each(self, fault: Fault) -> None:
        """Start one more of each process, again when it refuses to start, and stop it; how long it took is noted."""
        for name in PROCESSES:
            process = SingleProcess(name, self.stack.environ)
            begun_s, refused = time.monotonic(), 0
            await process.start(wait_ready=False)
            while not await self._is_ready(process):
                refused += 1
                await process.start(wait_ready=False)
            fault.notes.append(f"{name} started in {time.monotonic() - begun_s:.1f} s, refused {refused} times")
            await process.__aexit__(None, None, None)

    async def check(self) -> None:
        """All accepted events were delivered and archived, none is a dead letter, the ledger adds up."""
        await self.load.wait_arrived(self.receiver)
        await eventually(lambda: self.load.are_archived(self.stack.database_url), timeout_s=WELL_WITHIN_S)
        assert 0 == count_rows(self.stack.database_url, "dead_letters")

        async def adds_up() -> bool:
            code, books = await run_ledger(self.stack)
            assert 0 == code, books
            return True

        await eventually(adds_up, timeout_s=WELL_WITHIN_S)

    def count_repeats(self, fault: Fault) -> int:
        """Requests of this time beyond the first of each delivery."""
        before: Counter[str] = Counter()
        repeats = 0
        for request in self.receiver.requests():
            delivery_id = request.header("webhook-id")
            before[delivery_id] += 1
            repeats += before[delivery_id] > 1 and fault.begun_s <= request.arrived_monotonic_s <= fault.over_s
        return repeats

    def describe(self, fault: Fault) -> str:
        """The figures of a fault, for people."""
        arrivals = find_first_arrivals(self.receiver.requests()).values()
        end_s = fault.over_s
        accepted = sum(fault.begun_s <= at_s <= end_s for at_s in self.load.accepted_s)
        figures = (
            f"{fault.name}: cured after {fault.cured_s - fault.begun_s:.1f} s; {accepted} accepted, "
            f"{fault.refused} refused, {self.count_repeats(fault)} repeats; longest time without an acknowledgement "
            f"{find_pause_s(self.load.accepted_s, fault.begun_s, end_s):.1f} s, without a delivery "
            f"{find_pause_s(arrivals, fault.begun_s, end_s):.1f} s"
        )
        lines = [figures, *(f"    {note}" for note in fault.notes)]
        for red in self.watch.list_red(fault.begun_s, end_s):
            began_s, ended_s = red.begun_s - fault.begun_s, red.ended_s - fault.begun_s
            lines.append(f"    {red.process} red from {began_s:.1f} to {ended_s:.1f} s: {dict(red.problems)}")
        for name, said in self.watch.list_said(fault.begun_s, end_s).items():
            if said:
                lines.append(f"    {name} said {', '.join(sorted(said))}")
        return "\n".join(lines)

    @staticmethod
    async def _is_ready(process: SingleProcess) -> bool:
        """Wait until the process is ready; False: it has ended, as its keeper would see."""
        ready, ended = asyncio.create_task(process.wait_ready()), asyncio.create_task(process.wait(timeout_s=240))
        await asyncio.wait([ready, ended], return_when=asyncio.FIRST_COMPLETED)
        for task in (ready, ended):
            task.cancel()
        await asyncio.gather(ready, ended, return_exceptions=True)
        return process.is_running


def find_pause_s(times_s: Iterable[float], begun_s: float, ended_s: float) -> float:
    """The longest time in which nothing happened."""
    inside = sorted(at_s for at_s in times_s if begun_s <= at_s <= ended_s)
    return max(later - earlier for earlier, later in pairwise([begun_s, *inside, ended_s]))


@asynccontextmanager
async def run_installation(
    cluster: KafkaCluster, postgres: str, template: str, folder: Path, *, rate_per_s: float, **settings: str
) -> AsyncIterator[Installation]:
    """One of each process, and a load at this rate, which the caller begins and ends; `settings` as of `run_stack`."""
    async with (
        ReceiverProcess(folder / "journal.jsonl", "--digests-only") as receiver,
        run_stack(cluster.servers, postgres, template, *PROCESSES, KAFKA_REPLICATION_FACTOR="3", **settings) as stack,
    ):
        spaces = [await stack.api.make_space(TYPE) for _ in range(APPLICATIONS)]
        for space in spaces:
            await stack.api.subscribe(space, receiver.url("/a"), TYPE)
        watch = HealthWatch(stack)
        load = SteadyLoad(stack.api.url, spaces, TYPE, rate_per_s)
        async with beside(watch.run()):
            yield Installation(cluster, stack, receiver, load, watch)
