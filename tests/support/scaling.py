"""Consumer groups that grow and shrink under a steady load, whatever its length."""

import asyncio
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from tests.support.eventually import eventually
from tests.support.receiver import ReceiverProcess
from tests.support.single_process import SingleProcess
from tests.support.stack import Stack, run_stack
from tests.support.steady_load import Pause, SteadyLoad, count_repeats, measure_pauses

TYPE = "billing.invoice.paid"
APPLICATIONS = 8  # over 4 partitions


async def scale_under_load(
    kafka: str, postgres: str, template: str, folder: Path, *, rate_per_s: float, events_min: int, between_s: float
) -> list[Pause]:
    """deliver 1 → 4 → 1, then matcher 1 → 3 → 1, `between_s` apart, with at least `events_min` events in all.

    Asserts that every accepted event arrived, that no more requests were repeated than were open at once, and that the
    ledger adds up. The pause at each change is printed and returned.
    """
    names = ("gateway", "matcher", "deliver", "archive")
    settings = {"KAFKA_SESSION_TIMEOUT_S": "6", "ARCHIVE_LEDGER_INTERVAL_S": "0"}
    async with (
        ReceiverProcess(folder / "journal.jsonl", "--digests-only") as receiver,
        run_stack(kafka, postgres, template, *names, **settings) as stack,
    ):
        spaces = [await stack.api.make_space(TYPE) for _ in range(APPLICATIONS)]
        for space in spaces:
            await stack.api.subscribe(space, receiver.url("/a"), TYPE)
        async with SteadyLoad(stack.api.url, spaces, TYPE, rate_per_s) as load:
            await load.go_on(between_s)
            for name, more in (("deliver", 3), ("matcher", 2)):
                await _grow_and_shrink(stack, load, name, more, between_s)
            await eventually(lambda: len(load.accepted) >= events_min, timeout_s=events_min / rate_per_s + 60)
        assert [] == load.failed
        requests, state = await load.wait_arrived(receiver), await receiver.state()
        pauses = measure_pauses(load, requests, after_s=between_s)
        repeats = count_repeats(requests)
        sys.stdout.write(f"{len(load.accepted)} events, {repeats} repeats, at most {state.max_open} requests open\n")
        await load.wait_accounted(stack)
        assert repeats <= state.max_open
        return pauses


async def _grow_and_shrink(stack: Stack, load: SteadyLoad, name: str, more: int, between_s: float) -> None:
    async with AsyncExitStack() as stopping:
        added: Sequence[SingleProcess] = [SingleProcess(name, stack.environ) for _ in range(more)]
        change = load.begin(f"{name} 1 -> {1 + more}")
        for process in added:
            await process.start(wait_ready=False)
            stopping.push_async_exit(process.__aexit__)
        await asyncio.gather(*(process.wait_ready() for process in added))
        change.ended_s = time.monotonic()
        await load.go_on(between_s)
        change = load.begin(f"{name} {1 + more} -> 1")
        await asyncio.gather(*(process.stop() for process in added))
        change.ended_s = time.monotonic()
        await load.go_on(between_s)
