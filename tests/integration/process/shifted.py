"""One installation whose processes have clocks of their own, and the load that tells whether a wrong one does harm."""

import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from pipeline.postgres.archive.tables import TABLES
from tests.integration.archive.tables import count_rows, list_partitions, read_rows
from tests.support.api import Api
from tests.support.eventually import eventually
from tests.support.free_ports import find_free_port
from tests.support.python_clock import PythonClock
from tests.support.receiver import FailTimes, Receiver
from tests.support.single_process import SingleProcess
from tests.support.stack import MASTER_KEY, Stack, run_stack

PROCESSES = ("gateway", "matcher", "deliver", "archive")
TYPE = "billing.invoice.paid"
HOUR_S = 3600
DAY_S = 24 * HOUR_S
SHIFTS_S = {
    "1h-ahead": HOUR_S,
    "6d-ahead": 6 * DAY_S,
    "40d-ahead": 40 * DAY_S,
    "1h-behind": -HOUR_S,
    "6d-behind": -6 * DAY_S,
    "40d-behind": -40 * DAY_S,
}
# the line of a process that writes to the log, and of one that compares with PostgreSQL
LOGGED = {"gateway": "clock_wrong", "matcher": "clock_wrong", "deliver": "clock_wrong", "archive": "clocks_disagree"}
EVENTS = 5
WITHIN_S = 90.0
# a second to notice, the time that an end may take, and a busy machine
ENDS_WITHIN_S = 60.0
RETRY_DELAY_S = 1.0
RIGHT: Mapping[str, int] = {}


@dataclass(slots=True)
class Installation:
    """Four processes, each with a clock that can be set while it runs and one that can be wrong from its start."""

    stack: Stack
    receiver: Receiver
    processes: dict[str, SingleProcess]
    clocks: dict[str, PythonClock]
    api: Api
    rounds: int = 0

    async def set_clock(self, name: str, shift_s: int, *, is_early: bool) -> None:
        """Set the clock of a running process; `is_early`: start it with a clock that is wrong already.

        A process whose clock is set back ends by itself, and is started again, as a supervisor would do: wrong from its
        start then.
        """
        process = self.processes[name]
        if is_early:
            await process.stop()
        self.clocks[name].set(shift_s)
        if shift_s < 0 and not is_early:
            assert 1 == await process.wait(timeout_s=ENDS_WITHIN_S)
            assert "was set back by" in process.log()
        if is_early or shift_s < 0:
            await process.start()

    async def heal(self, name: str) -> None:
        """Start the process again with the right time."""
        await self.processes[name].stop()
        self.clocks[name].set(0)
        await self.processes[name].start()
        await eventually(lambda: self.is_well(name), timeout_s=WITHIN_S)

    async def problems(self, name: str) -> dict[str, str]:
        base = (await self.processes[name].wait_ready())["metrics"].removesuffix("/metrics")
        async with aiohttp.ClientSession() as session, session.get(base + "/health") as response:
            problems: dict[str, str] = (await response.json())["problems"]
            return problems

    async def is_well(self, name: str) -> bool:
        problems = await self.problems(name)
        assert problems == {}, problems
        return True

    async def say(self, name: str) -> str:
        """Return what a process' health says of the clock; nothing: that it is well."""
        problems = await self.problems(name)
        return " ".join(problems[check] for check in ("clock", "retention") if check in problems)

    async def send_all_through(self) -> "Outcome":
        """Two new applications: the endpoint of one fails at first, the other one's is healthy. What became of it."""
        self.rounds += 1
        failing, healthy = f"/{self.rounds}/failing", f"/{self.rounds}/healthy"
        self.receiver.script(failing, FailTimes(EVENTS, 503))
        spaces = []
        for path, delays in ((failing, [RETRY_DELAY_S] * 3), (healthy, [])):
            space = await self.api.make_space(TYPE)
            url = self.receiver.url(path)
            await self.api.subscribe(space, url, TYPE, delivery={"retry_delays_s": delays})
            spaces.append(space)
        sent = [[await self.api.send(space, TYPE) for _ in range(EVENTS)] for space in spaces]
        counts = {failing: 2 * EVENTS, healthy: EVENTS}

        def are_archived() -> bool:
            found = Counter(str(row["application_id"]) for row in read_rows(self.stack.database_url, "attempts"))
            wanted = dict(zip((space.application_id for space in spaces), counts.values(), strict=True))
            assert wanted.items() <= found.items(), (found, wanted)
            return True

        for path, count in counts.items():
            await eventually(lambda: len(self.receiver.requests(path)) >= count, timeout_s=WITHIN_S)  # noqa: B023
        await eventually(are_archived, timeout_s=WITHIN_S)
        received = {
            path: Counter(request.header("X-Event-Id") for request in self.receiver.requests(path)) for path in counts
        }
        return Outcome(
            lost=[each for ids, found in zip(sent, received.values(), strict=True) for each in set(ids) - found.keys()],
            requests={path.rpartition("/")[2]: found.total() for path, found in received.items()},
            most_healthy=max(received[healthy].values()),
        )

    def measure_ages_s(self) -> list[float]:
        """How old everything in the archive says it is: when events were received, matched, sent and answered."""
        times = {"events": ("received_at",), "dispatches": ("matched_at",), "attempts": ("started_at", "finished_at")}
        return [
            time.time() - row[f"{column}_us"] / 1_000_000
            for table, columns in times.items()
            for row in read_rows(self.stack.database_url, table)
            for column in columns
        ]

    def partitions(self) -> Mapping[str, list[str]]:
        """The days that the archive has, by table."""
        return {table.name: list_partitions(self.stack.database_url, table.name) for table in TABLES}

    def dropped(self) -> int:
        """Days that were taken out of the archive."""
        return count_rows(self.stack.database_url, "archive_detached")


@dataclass(frozen=True, slots=True)
class Outcome:
    """Counts of accepted events: those no endpoint got, requests by endpoint, the most of one healthy delivery."""

    lost: list[str]
    requests: dict[str, int]
    most_healthy: int


AS_IT_SHOULD_BE = Outcome(lost=[], requests={"failing": 2 * EVENTS, "healthy": EVENTS}, most_healthy=1)


@asynccontextmanager
async def run_installation(
    kafka: str, postgres: str, template: str, folder: Path, *, wrong_s: Mapping[str, int] = RIGHT
) -> AsyncIterator[Installation]:
    """All four processes. `wrong_s`: by how much their clocks are wrong from the start, by name."""
    async with (
        run_stack(kafka, postgres, template, KAFKA_SESSION_TIMEOUT_S="6") as stack,
        Receiver() as receiver,
        AsyncExitStack() as running,
    ):
        processes, clocks = {}, {}
        for name in PROCESSES:
            (folder / name).mkdir()
            clocks[name] = PythonClock(folder / name)
            clocks[name].set(wrong_s.get(name, 0))
            # the same port after each start of it
            port = {"HOOKLINE_GATEWAY_PORT": str(find_free_port())}
            environ = stack.environ | port | dict(clocks[name].environ)
            processes[name] = SingleProcess(name, environ)
            await processes[name].start()
            running.push_async_callback(processes[name].kill)
        api = Api((await processes["gateway"].wait_ready())["api"], MASTER_KEY)
        await running.enter_async_context(api)
        yield Installation(stack, receiver, processes, clocks, api)


async def try_clock(installation: Installation, name: str, shift_s: int, *, is_early: bool) -> tuple[Outcome, str]:
    """Set the clock of one process, send, and heal it: what became of it all, and what health said of the clock."""
    await installation.set_clock(name, shift_s, is_early=is_early)
    outcome = await installation.send_all_through()

    words = await eventually(lambda: installation.say(name), timeout_s=WITHIN_S)
    assert LOGGED[name] in installation.processes[name].log()
    await installation.heal(name)
    return outcome, words
