"""Runs one case against an installation: provision, load, drain, verify, evaluate."""

import asyncio
import contextlib
import os
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from pipeline.bench.accounting import Meter
from pipeline.bench.child import BenchChild
from pipeline.bench.control import Control
from pipeline.bench.errors import first_failure
from pipeline.bench.evaluation import (
    Evidence,
    compare_server,
    draw_curves,
    evaluate_group,
    evaluate_phase,
    sort_out,
)
from pipeline.bench.evidence import read_received, read_sent, reckon
from pipeline.bench.installation import Installation
from pipeline.bench.payloads import STAMP_BYTES
from pipeline.bench.phases import Course, PhaseTime
from pipeline.bench.plan import (
    Answer,
    Command,
    GeneratorPlan,
    GeneratorProgress,
    Pace,
    ReceiverPlan,
    ReceiverProgress,
    StreamPlan,
    write_plan,
)
from pipeline.bench.preparation import prepare
from pipeline.bench.provisioning import Provisioned, provision, remove
from pipeline.bench.result import CaseResult, GroupCounts, Growth, PhaseFigures, ServerUse
from pipeline.bench.sampling import Sample, Sampler
from pipeline.bench.scenario import Burst, Case, Closed, InFlight, Open, Phase, Share
from pipeline.config import DatabaseConfig, KafkaConfig
from pipeline.postgres.archive_counts import ArchivedCounts, ServerFigures, count_archived, read_server_figures
from pipeline.postgres.pool import Pool, open_pool

SECOND_US = 1_000_000
CHILD_START_TIMEOUT_S = 30.0
FINISH_TIMEOUT_S = 120.0
# Nothing more has arrived or been archived for so long: it never will.
STUCK_AFTER_S = 30.0
LOOK_INTERVAL_S = 0.5
NOTHING_ARCHIVED = ArchivedCounts(events=0, dispatches=0, deliveries=0, succeeded=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Payloads:
    """What events carry, and where that is from, in words."""

    payloads: list[str]
    source: str

    def mean_bytes(self) -> float:
        """Of one, with its mark."""
        return sum(len(payload.encode()) for payload in self.payloads) / len(self.payloads) + STAMP_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What holds for all cases. `kafka`: its settings but for the address; `is_to_be_left_clean`: remove what was made.

    `has_event_ids`: clients make them.
    """

    receiver_host: str
    has_event_ids: bool
    kafka: KafkaConfig
    is_to_be_left_clean: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Watching:
    """Who is told how a run goes."""

    on_step: Callable[[str], None]
    on_sample: Callable[[Sample], None]


@dataclass(slots=True, kw_only=True)
class Stage:
    """A run with everything in place."""

    case: Case
    groups: list[Provisioned]
    generator: BenchChild[GeneratorProgress]
    receiver: BenchChild[ReceiverProgress]
    sampler: Sampler
    pool: Pool | None
    folder: Path


async def run_case(
    installation: Installation,
    case: Case,
    *,
    payloads: Payloads,
    rate_of: Callable[[str], float],
    conditions: Conditions,
    watching: Watching,
) -> CaseResult:
    """Run it. `rate_of`: events a second that another case has reached. Raises `BenchError`."""
    started_at, started_s = datetime.now(UTC), time.monotonic()
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hookline-bench-run-")))
        pool = await stack.enter_async_context(_open_database(installation))
        watching.on_step("provisioning ...")
        receiver = await stack.enter_async_context(_start_receiver(case, folder, conditions.receiver_host))
        control = await stack.enter_async_context(Control(installation.api, installation.master_api_key))
        url = f"http://{conditions.receiver_host}:{receiver.last.port}"
        groups = await provision(control, case, receiver=url, pool=pool)
        await prepare(
            case.preparation,
            installation=installation,
            kafka=conditions.kafka,
            pool=pool,
            groups=groups,
            payload=payloads.payloads[0],
            on_step=watching.on_step,
        )
        plan = _plan_load(
            installation.api, groups, payloads.payloads, rate_of, folder, has_event_ids=conditions.has_event_ids
        )
        generator = await stack.enter_async_context(_start_generator(plan, folder))
        pids = {
            **installation.pids,
            "generator": [generator.pid],
            "receiver": [receiver.pid],
            "bench": [os.getpid()],
        }
        meter = Meter(pids)
        sampler = await stack.enter_async_context(
            Sampler(meter, installation.metrics, generator=generator, receiver=receiver, on_sample=watching.on_sample)
        )
        stage = Stage(
            case=case,
            groups=groups,
            generator=generator,
            receiver=receiver,
            sampler=sampler,
            pool=pool,
            folder=folder,
        )
        pss_before = meter.measure_pss_mib()
        size_before = await _measure_size(pool, installation)
        times, server, drained_after_s, archived = await _run_load(stage, watching)
        size_after = await _measure_size(pool, installation)
        pss_after = meter.measure_pss_mib()
        if conditions.is_to_be_left_clean:
            await remove(control, groups)
        watching.on_step("evaluating ...")
        evidence = await asyncio.to_thread(_gather_evidence, stage, times)
        first, last = sampler.samples[0], sampler.samples[-1]
        counts = {each.group.name: _count(each, archived[number]) for number, each in enumerate(evidence)}
        return CaseResult(
            name=case.name,
            case=asdict(case),
            payloads=payloads.source,
            payload_bytes_mean=round(payloads.mean_bytes(), 1),
            started_at=started_at.isoformat(timespec="seconds"),
            seconds=round(time.monotonic() - started_s, 1),
            drained_after_s=round(drained_after_s, 2),
            phases=_evaluate_phases(times, server, evidence, sampler.samples),
            counts=counts,
            growth=Growth(
                rss_mib_before=_round(first.rss_mib),
                rss_mib_after=_round(last.rss_mib),
                pss_mib_before=_round(pss_before),
                pss_mib_after=_round(pss_after),
                database_bytes=_grow(size_before[0], size_after[0]),
                kafka_bytes=_grow(size_before[1], size_after[1]),
            ),
            curves=draw_curves(sampler.samples, evidence, start_us=times[0].start_us),
            problems=_find_problems(evidence, counts, receiver.last),
        )


# Starting.


@asynccontextmanager
async def _open_database(installation: Installation) -> AsyncIterator[Pool | None]:
    if not installation.database_url:
        yield None
        return
    config = DatabaseConfig.model_validate(
        {"write_url": installation.database_url, "pool_size": 2, "statement_timeout_s": 600}
    )
    pool = await open_pool(config, config.write_url, name="bench")
    try:
        yield pool
    finally:
        await pool.close()


@asynccontextmanager
async def _start_receiver(case: Case, folder: Path, host: str) -> AsyncIterator[BenchChild[ReceiverProgress]]:
    plan = ReceiverPlan(
        host=host,
        answers=[group.answer for group in case.groups for _ in range(group.endpoints)],
        groups=[group.endpoints for group in case.groups],
        journal_dir=str(folder),
    )
    path = folder / "receiver.json"
    write_plan(path, plan)
    child = BenchChild("pipeline.bench.receiver", path, ReceiverProgress, log=folder / "receiver.log")
    async with child:
        await child.wait_for(lambda said: said.port > 0, timeout_s=CHILD_START_TIMEOUT_S)
        yield child


@asynccontextmanager
async def _start_generator(plan: GeneratorPlan, folder: Path) -> AsyncIterator[BenchChild[GeneratorProgress]]:
    path = folder / "generator.json"
    write_plan(path, plan)
    child = BenchChild("pipeline.bench.generator", path, GeneratorProgress, log=folder / "generator.log")
    async with child:
        await child.wait_for(lambda _: True, timeout_s=CHILD_START_TIMEOUT_S)
        yield child


def _plan_load(
    api: str,
    groups: Sequence[Provisioned],
    payloads: list[str],
    rate_of: Callable[[str], float],
    folder: Path,
    *,
    has_event_ids: bool,
) -> GeneratorPlan:
    streams = [
        StreamPlan(
            number=number,
            pace=_find_pace(provisioned, rate_of),
            audiences=list(provisioned.audiences),
            connections=provisioned.group.connections,
            batch=provisioned.group.batch,
        )
        for number, provisioned in enumerate(groups)
    ]
    return GeneratorPlan(
        api=api, streams=streams, payloads=payloads, has_event_ids=has_event_ids, journal_dir=str(folder)
    )


def _find_pace(provisioned: Provisioned, rate_of: Callable[[str], float]) -> Pace:
    match provisioned.group.load:
        case Open(rate_per_s=rate_per_s):
            return Pace(rate_per_s=rate_per_s)
        case Share(of=of, share=share):
            return Pace(rate_per_s=max(1.0, share * rate_of(of)))
        case Closed():
            return Pace()
        case InFlight():
            return Pace(is_limited=True)
        case Burst(events=events):
            return Pace(events_max=events)


# Running.


async def _run_load(
    stage: Stage, watching: Watching
) -> tuple[list[PhaseTime], list[ServerFigures], float, list[ArchivedCounts | None]]:
    """When phases were, what the server counted at their ends, how long draining took, what is archived by group."""
    server: list[ServerFigures] = []

    async def on_boundary(phase: Phase | None) -> None:
        if phase is not None:
            watching.on_step(f"{stage.case.name}: {phase.name} ...")
        await stage.sampler.take()
        if stage.pool is not None:
            server.append(await read_server_figures(stage.pool))

    sampling = asyncio.create_task(stage.sampler.run())
    course = Course(
        stage.case,
        stage.groups,
        generator=stage.generator,
        receiver=stage.receiver,
        count_archived=stage.sampler.count_attempts,
        on_boundary=on_boundary,
    )
    running = asyncio.create_task(course.run())
    try:
        await asyncio.wait({sampling, running}, return_when=asyncio.FIRST_COMPLETED)
        if sampling.done():
            sampling.result()
        with first_failure():
            times = await running
        watching.on_step(f"{stage.case.name}: waiting for what is on its way ...")
        started_s = time.monotonic()
        await stage.generator.tell(Command(do="finish"))
        await stage.generator.wait_for(lambda said: said.is_saved, timeout_s=FINISH_TIMEOUT_S)
        await course.answer({group.group.name: Answer() for group in stage.groups if group.group.must_arrive})
        archived = await _drain(stage)
        return times, server, time.monotonic() - started_s, archived
    finally:
        for task in (sampling, running):
            task.cancel()
        await asyncio.gather(sampling, running, return_exceptions=True)


async def _drain(stage: Stage) -> list[ArchivedCounts | None]:
    """Wait until everything accepted has arrived and is archived, or nothing moves any more; what is archived."""
    progress: object = None
    moved_s = time.monotonic()
    while True:
        archived = [await _count_group(stage.pool, group) for group in stage.groups]
        if all(_is_complete(stage, number, each) for number, each in enumerate(archived)):
            break
        now: object = (archived, list(stage.receiver.last.received))
        if now != progress:
            progress, moved_s = now, time.monotonic()
        elif time.monotonic() - moved_s > STUCK_AFTER_S:
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


# Evaluating.


def _gather_evidence(stage: Stage, times: Sequence[PhaseTime]) -> list[Evidence]:
    received = read_received(stage.folder)
    evidence = []
    for number, provisioned in enumerate(stage.groups):
        group = provisioned.group
        sent = read_sent(stage.folder, number, batch=group.batch)
        reckoning = reckon(
            sent,
            received.list_arrivals(number),
            first=provisioned.first,
            audiences=group.audiences,
            fan_out=group.fan_out,
        )
        deliveries = sort_out(received.list_arrivals(number), times)
        evidence.append(Evidence(group=group, sent=sent, deliveries=deliveries, reckoning=reckoning))
    return evidence


def _evaluate_phases(
    times: Sequence[PhaseTime],
    server: Sequence[ServerFigures],
    evidence: Sequence[Evidence],
    samples: Sequence[Sample],
) -> list[PhaseFigures]:
    figures = []
    for index, each in enumerate(times):
        if not each.phase.is_measured:
            continue
        use: ServerUse | None = None
        if server:
            seconds = (each.end_us - each.start_us) / SECOND_US
            use = compare_server(server[index], server[index + 1], seconds)
        groups = {one.group.name: evaluate_group(one, each, index) for one in evidence}
        figures.append(evaluate_phase(each, groups, evidence, samples, run_start_us=times[0].start_us, server=use))
    return figures


def _count(evidence: Evidence, archived: ArchivedCounts | None) -> GroupCounts:
    sent, reckoning = evidence.sent, evidence.reckoning
    return GroupCounts(
        statuses=sent.describe_statuses(),
        accepted=sent.count_accepted(),
        refused=sent.count_refused(),
        unknown=sent.count_unknown(),
        deliveries_expected=reckoning.expected,
        delivered=reckoning.arrived,
        repeated=reckoning.repeated,
        lost=reckoning.lost if evidence.group.must_arrive else 0,
        unasked=reckoning.unasked,
        archived_events=archived.events if archived is not None else None,
        archived_deliveries=archived.deliveries if archived is not None else None,
        archived_succeeded=archived.succeeded if archived is not None else None,
    )


def _find_problems(
    evidence: Sequence[Evidence], counts: dict[str, GroupCounts], receiver: ReceiverProgress
) -> list[str]:
    problems = []
    for each in evidence:
        problems += [f"{each.group.name}: {problem}" for problem in find_count_problems(counts[each.group.name], each)]
    if receiver.misunderstood:
        problems.append(f"{receiver.misunderstood} requests arrived that are no deliveries of this run")
    return problems


def find_count_problems(counts: GroupCounts, evidence: Evidence) -> list[str]:
    """What does not add up: accepted, delivered and archived must be the same events."""
    fan_out, problems = evidence.group.fan_out, []
    if not counts.accepted:
        problems.append(f"no event was accepted: {counts.statuses}")
    if counts.refused:
        problems.append(f"{counts.refused} events were refused: {counts.statuses}")
    if counts.lost:
        problems.append(f"{counts.lost} deliveries of accepted events were LOST")
    if counts.unasked:
        problems.append(f"{counts.unasked} deliveries went to endpoints they were not for")
    if counts.archived_events is None:
        return problems
    most = counts.accepted + counts.unknown
    if not counts.accepted <= counts.archived_events <= most:
        problems.append(f"{counts.accepted} events were accepted and {counts.archived_events} are archived")
    if counts.archived_deliveries != counts.archived_events * fan_out:
        problems.append(f"{counts.archived_deliveries} deliveries are archived, not {fan_out} for each event")
    if evidence.group.must_arrive and counts.archived_succeeded != counts.delivered:
        problems.append(f"{counts.delivered} deliveries arrived, {counts.archived_succeeded} are archived as such")
    return problems


async def _measure_size(pool: Pool | None, installation: Installation) -> tuple[int | None, int | None]:
    """Bytes of the database, and of Kafka's data when it is on this machine."""
    database = (await read_server_figures(pool)).size_bytes if pool is not None else None
    folder = installation.kafka_dir
    kafka = await asyncio.to_thread(_measure_folder, folder) if folder is not None else None
    return database, kafka


def _measure_folder(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*.log"):
        with contextlib.suppress(OSError):  # deleted meanwhile
            total += path.stat().st_size
    return total


def _grow(before: int | None, after: int | None) -> int | None:
    return after - before if before is not None and after is not None else None


def _round(values: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 1) for name, value in values.items()}
