"""The load of a run, from its first event until everything has come out at the other end."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench.cases.scenario import Phase
from bench.evaluation.phase_time import PhaseTime
from bench.instruments.plan import Answer, Command
from bench.load.phases import Course
from bench.staging.provisioning import Provisioned
from bench.staging.stage import Stage, Watching
from pipeline.postgres.archive.counts import ArchivedCounts, ServerFigures, count_archived, read_server_figures
from pipeline.postgres.pool import Pool
from pipeline.supervisor import first_failure, run_beside

FINISH_TIMEOUT_S = 120.0
LOOK_INTERVAL_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """`server`: the counters of PostgreSQL at the start and at the end of each phase; `archived`: by group, at last.

    Empty, or None each, when the database is not known.
    """

    times: Sequence[PhaseTime]
    server: Sequence[ServerFigures]
    drained_after_s: float
    archived: Sequence[ArchivedCounts | None]


async def run_load(stage: Stage, watching: Watching) -> Outcome:
    """Run all phases, then wait for deliveries under way. Raises `BenchError`, also when a process dies meanwhile."""
    return await run_beside(stage.sampler.run(), _run_phases(stage, watching))


async def _run_phases(stage: Stage, watching: Watching) -> Outcome:
    server: list[ServerFigures] = []

    async def on_boundary(phase: Phase | None) -> None:
        if phase is not None:
            watching.on_step(f"{stage.case.name}: {phase.name} ...")
        await stage.sampler.take()
        if stage.pool is not None:
            server.append(await read_server_figures(stage.pool))

    course = Course(
        stage.case,
        stage.groups,
        generator=stage.generator,
        receiver=stage.receiver,
        count_archived=stage.sampler.count_attempts,
        on_boundary=on_boundary,
    )
    with first_failure():
        times = await course.run()
    watching.on_step(f"{stage.case.name}: waiting for deliveries under way ...")
    started_s = time.monotonic()
    await stage.generator.tell(Command(do="finish"))
    await stage.generator.wait_for(lambda said: said.is_saved, timeout_s=FINISH_TIMEOUT_S)
    await course.answer({group.group.name: Answer() for group in stage.groups if group.group.must_arrive})
    archived = await _drain(stage)
    return Outcome(times=times, server=server, drained_after_s=time.monotonic() - started_s, archived=archived)


async def _drain(stage: Stage) -> list[ArchivedCounts | None]:
    """Wait until everything accepted has arrived and is archived, or nothing moves; returns the archived counts."""
    progress: object = None
    moved_s = time.monotonic()
    while True:
        archived = [await _count_group(stage.pool, group) for group in stage.groups]
        if all(_is_complete(stage, number, each) for number, each in enumerate(archived)):
            break
        now: object = (archived, list(stage.receiver.last.received))
        if now != progress:
            progress, moved_s = now, time.monotonic()
        elif time.monotonic() - moved_s > stage.give_up_after_s:
            break
        await asyncio.sleep(LOOK_INTERVAL_S)
    saved = stage.receiver.last.saved
    await stage.receiver.tell(Command(do="save"))
    await stage.receiver.wait_for(lambda said: said.saved > saved, timeout_s=FINISH_TIMEOUT_S)
    return archived


async def _count_group(pool: Pool | None, group: Provisioned) -> ArchivedCounts | None:
    return None if pool is None else await count_archived(pool, group.application_ids)


def _is_complete(stage: Stage, number: int, archived: ArchivedCounts | None) -> bool:
    group = stage.groups[number].group
    accepted = stage.generator.last.accepted[number]
    deliveries = accepted * group.fan_out
    if group.must_arrive and stage.receiver.last.received[number] < deliveries:
        return False
    if archived is None:
        return True
    is_archived = archived.events >= accepted and archived.deliveries >= deliveries
    return is_archived and (archived.succeeded >= deliveries or not group.must_arrive)
