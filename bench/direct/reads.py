"""Reads of the API: one kind after the other by a few connections at once, then all kinds at a fixed rate."""

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator, Sequence

import aiohttp

from bench.cases.scenario import Reads
from bench.direct.measured import Measured
from bench.direct.reading import ReadConnection, open_connections
from bench.errors import BenchError
from bench.staging.installation import Installation
from bench.staging.stage import Watching
from pipeline.postgres.archive.filling import adopt_filled, list_filled_ids
from pipeline.postgres.pool import Pool

NextTarget = Callable[[], str]
OPEN_CONNECTIONS = 64  # at a fixed rate; as many requests may be under way


async def measure_reads(installation: Installation, pool: Pool, wanted: Reads, watching: Watching) -> list[Measured]:
    """Read the filled archive: the rows of one application. Raises `BenchError`."""
    headers = {"Authorization": f"Bearer {installation.master_api_key}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        application_id = await _make_application(session, installation.api)
    await adopt_filled(pool, application_id)
    events, attempts = await list_filled_ids(pool, application_id)
    if not events:
        raise BenchError("there is nothing to read: say --archive-rows 1000000")
    kinds = _list_kinds(application_id, events, attempts)
    found = []
    async with open_connections(installation.api, installation.master_api_key, OPEN_CONNECTIONS) as connections:
        few = connections[: wanted.connections]
        for name, next_target in kinds.items():
            watching.on_step(f"reading {name} ...")
            await _read_closed(few, name, next_target, wanted.warm_up_s)
            found.append(await _read_closed(few, name, next_target, wanted.seconds))
        watching.on_step(f"reading everything, {wanted.rate_per_s:g}/s ...")
        mixed = itertools.cycle(kinds.values())
        name = f"all kinds, {wanted.rate_per_s:g}/s"
        found.append(await _read_open(connections, name, lambda: next(mixed)(), wanted.rate_per_s, wanted.seconds))
    return found


def _list_kinds(application_id: str, events: Sequence[str], attempts: Sequence[str]) -> dict[str, NextTarget]:
    of = f"application_id={application_id}"
    event, attempt, of_event = itertools.cycle(events), itertools.cycle(attempts), itertools.cycle(events)
    return {
        "list of events": lambda: f"/events?{of}",
        "one event": lambda: f"/events/{next(event)}?{of}",
        "list of attempts": lambda: f"/request_attempts?{of}",
        "attempts of an event": lambda: f"/request_attempts?{of}&event_id={next(of_event)}",
        "one attempt": lambda: f"/request_attempts/{next(attempt)}?{of}",
    }


async def _make_application(session: aiohttp.ClientSession, api: str) -> str:
    organization = await _post(session, f"{api}/organizations", {"name": "Benchmark"})
    body = {"organization_id": organization["organization_id"], "name": "Reads"}
    return (await _post(session, f"{api}/applications", body))["application_id"]


async def _post(session: aiohttp.ClientSession, url: str, body: dict[str, str]) -> dict[str, str]:
    async with session.post(url, json=body) as response:
        if response.status >= 300:
            raise BenchError(f"POST {url} answered {response.status}: {await response.text()}")
        answer: dict[str, str] = await response.json()
        return answer


async def _read_closed(
    connections: Sequence[ReadConnection], name: str, next_target: NextTarget, seconds: float
) -> Measured:
    """Ask over each connection again as soon as the last answer has come."""
    latencies_us: list[int] = []
    failures = 0
    began_s = time.monotonic()

    async def ask_again(connection: ReadConnection) -> None:
        nonlocal failures
        while time.monotonic() - began_s < seconds:
            asked_ns = time.perf_counter_ns()
            failures += not await connection.read(next_target())
            latencies_us.append((time.perf_counter_ns() - asked_ns) // 1000)

    await asyncio.gather(*(ask_again(connection) for connection in connections))
    return _describe(name, began_s, latencies_us, failures)


async def _read_open(
    connections: Sequence[ReadConnection], name: str, next_target: NextTarget, rate_per_s: float, seconds: float
) -> Measured:
    """Ask at fixed times, whatever the answers; latencies count from the due time, a wait for a connection included."""
    latencies_us: list[int] = []
    failures = 0
    free: asyncio.LifoQueue[ReadConnection] = asyncio.LifoQueue()
    for connection in connections:
        free.put_nowait(connection)
    began_s = time.monotonic()

    async def ask(due_s: float) -> None:
        nonlocal failures
        connection = await free.get()
        failures += not await connection.read(next_target())
        free.put_nowait(connection)
        latencies_us.append(int((time.monotonic() - due_s) * 1_000_000))

    async with asyncio.TaskGroup() as tasks:
        for due_s in _each_due(began_s, rate_per_s, seconds):
            wait_s = due_s - time.monotonic()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            tasks.create_task(ask(due_s))
    return _describe(name, began_s, latencies_us, failures)


def _describe(name: str, began_s: float, latencies_us: list[int], failures: int) -> Measured:
    return Measured(
        name=name,
        began_s=began_s,
        seconds=time.monotonic() - began_s,
        units=len(latencies_us),
        latencies_us=latencies_us,
        failures=failures,
    )


def _each_due(began_s: float, rate_per_s: float, seconds: float) -> Iterator[float]:
    for number in range(int(rate_per_s * seconds)):
        yield began_s + number / rate_per_s
