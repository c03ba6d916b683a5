"""Events at a steady rate while something happens to the processes, and what became of each."""

import asyncio
import math
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import aiohttp

from tests.integration.archive.tables import read_rows
from tests.support.api import Space, describe_event
from tests.support.commands import run_ledger
from tests.support.eventually import eventually
from tests.support.pace import paced
from tests.support.receiver import ReceivedRequest, ReceiverProcess
from tests.support.stack import Stack

ARRIVAL_TIMEOUT_S = 120.0


@dataclass(slots=True)
class Change:
    """A change that was made to the processes, and when (monotonic)."""

    name: str
    begun_s: float
    ended_s: float = 0.0


@dataclass
class SteadyLoad:
    """An async context manager: events go to `url` at `rate_per_s` until it is left, to `spaces` in turn.

    The schedule is fixed: an answer that takes long delays no other event. Monotonic times.
    """

    url: str
    spaces: Sequence[Space]
    event_type: str
    rate_per_s: float
    accepted: dict[str, float] = field(default_factory=dict)  # event id → when it was sent
    accepted_s: list[float] = field(default_factory=list)  # when each was answered
    failed: list[str] = field(default_factory=list)
    answers_ms: list[float] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)

    async def __aenter__(self) -> "SteadyLoad":
        # each request has a connection at once, however long others are not answered
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=60), connector=aiohttp.TCPConnector(limit=0)
        )
        self._ending = asyncio.Event()
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._ending.set()
        try:
            await self._task
        finally:
            await self._session.close()

    def begin(self, name: str) -> Change:
        """Note that a change begins; its end is noted by the caller."""
        change = Change(name, time.monotonic())
        self.changes.append(change)
        return change

    async def go_on(self, seconds: float) -> None:
        """Wait until as many more events have been answered as are sent in that time."""
        enough = self._count_answered() + math.ceil(seconds * self.rate_per_s)
        await eventually(lambda: self._count_answered() >= enough, timeout_s=seconds + ARRIVAL_TIMEOUT_S)

    async def wait_arrived(self, receiver: ReceiverProcess) -> Sequence[ReceivedRequest]:
        """Wait until every accepted event has arrived, and return all requests."""

        def all_arrived() -> bool:
            missing = self.accepted.keys() - find_first_arrivals(receiver.requests()).keys()
            assert not missing, f"{len(missing)} of {len(self.accepted)} events have not arrived"
            return True

        await eventually(all_arrived, timeout_s=ARRIVAL_TIMEOUT_S)
        return receiver.requests()

    def are_archived(self, database_url: str) -> bool:
        """Are all accepted events archived, with an attempt each? An assertion names how many are not."""
        for table in ("events", "attempts"):
            missing = self.accepted.keys() - {str(row["event_id"]) for row in read_rows(database_url, table)}
            assert not missing, f"{len(missing)} of {len(self.accepted)} are not among the archived {table}"
        return True

    async def wait_accounted(self, stack: Stack) -> None:
        """Wait until the ledger counts every accepted event, and no other, as matched and delivered."""

        async def adds_up() -> bool:
            code, books = await run_ledger(stack)
            assert 0 == code, books
            total = books["total"]
            assert {len(self.accepted)} == {total["events"], total["matched"], total["delivered"]}, total
            return True

        await eventually(adds_up, timeout_s=ARRIVAL_TIMEOUT_S)

    def _count_answered(self) -> int:
        return len(self.accepted) + len(self.failed)

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as requests:
            async for number in paced(1 / self.rate_per_s):
                if self._ending.is_set():
                    return
                requests.create_task(self._send(self.spaces[number % len(self.spaces)]))

    async def _send(self, space: Space) -> None:
        event = describe_event(space.application_id, self.event_type)
        sent_s = time.monotonic()
        try:
            headers = {"Authorization": f"Bearer {space.secret}"}
            async with self._session.post(f"{self.url}/event", json=event, headers=headers) as response:
                text = await response.text()
                if response.status == 201:
                    self.accepted[event["event_id"]] = sent_s
                    self.accepted_s.append(time.monotonic())
                    self.answers_ms.append((time.monotonic() - sent_s) * 1000)
                else:
                    self.failed.append(f"{response.status} {text[:200]}")
        except (aiohttp.ClientError, TimeoutError) as error:
            self.failed.append(f"{type(error).__name__}: {error}")


@dataclass(frozen=True, slots=True)
class Pause:
    """Effect of a change on deliveries: the longest time without one, and the latencies of events sent meanwhile."""

    name: str
    longest_s: float
    p50_s: float
    p99_s: float

    def __str__(self) -> str:
        latencies = f"delivered p50 {self.p50_s:6.3f} s, p99 {self.p99_s:5.2f} s"
        return f"{self.name:<22} longest pause {self.longest_s:5.2f} s, {latencies}"


def count_repeats(requests: Sequence[ReceivedRequest]) -> int:
    """Requests beyond the first of each delivery."""
    return sum(count - 1 for count in Counter(request.header("webhook-id") for request in requests).values())


def measure_pauses(load: SteadyLoad, requests: Sequence[ReceivedRequest], *, after_s: float) -> list[Pause]:
    """Measure the pause of each change, from its beginning to `after_s` behind its end, and print it."""
    first = find_first_arrivals(requests)
    arrivals = sorted(first.values())
    pauses = []
    for change in load.changes:
        end_s = change.ended_s + after_s
        inside = [at for at in arrivals if change.begun_s <= at <= end_s]
        edges = [change.begun_s, *inside]
        longest_s = max((later - earlier for earlier, later in pairwise(edges)), default=math.inf)
        sent = {event: at for event, at in load.accepted.items() if change.begun_s <= at <= end_s and event in first}
        latencies = sorted(first[event] - at for event, at in sent.items())
        pauses.append(Pause(change.name, longest_s, _quantile(latencies, 0.5), _quantile(latencies, 0.99)))
    for pause in pauses:
        sys.stdout.write(f"{pause}\n")
    return pauses


def find_first_arrivals(requests: Sequence[ReceivedRequest]) -> Mapping[str, float]:
    """Event id → when it arrived first."""
    first: dict[str, float] = {}
    for request in requests:
        event_id = request.header("X-Event-Id")
        first[event_id] = min(request.arrived_monotonic_s, first.get(event_id, math.inf))
    return first


def _quantile(values: Sequence[float], share: float) -> float:
    return values[min(len(values) - 1, int(len(values) * share))] if values else math.nan
