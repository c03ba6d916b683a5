"""Runs one case against an installation: provision, load, verify, evaluate."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench.cases.scenario import Case
from bench.evaluation.counting import count_group, find_problems
from bench.evaluation.evaluation import (
    Evidence,
    compare_server,
    draw_curves,
    evaluate_group,
    evaluate_phase,
    sort_out,
)
from bench.evaluation.evidence import read_received, read_sent, reckon
from bench.evaluation.result import CaseResult, Growth, PhaseFigures, ServerUse
from bench.load.load import Outcome, run_load
from bench.sampling.machine import measure_loop_us
from bench.staging.installation import Installation
from bench.staging.stage import Conditions, Payloads, Stage, Watching, set_stage
from pipeline.core.units import SECOND_US
from pipeline.postgres.archive.counts import read_server_figures


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Memory by process and bytes on disk, None where they cannot be seen."""

    pss_mib: dict[str, float]
    database_bytes: int | None
    kafka_bytes: int | None


async def run_case(
    installation: Installation,
    case: Case,
    *,
    payloads: Payloads,
    rate_of: Callable[[str], float],
    conditions: Conditions,
    watching: Watching,
) -> CaseResult:
    """Run a case. `rate_of`: events a second that another case has reached. Raises `BenchError`."""
    started_at, started_s = datetime.now(UTC), time.monotonic()
    async with set_stage(
        installation, case, payloads=payloads, rate_of=rate_of, conditions=conditions, watching=watching
    ) as stage:
        loop_us_before = measure_loop_us()
        before = await _measure_sizes(stage)
        outcome = await run_load(stage, watching)
        after = await _measure_sizes(stage)
        loop_us_after = measure_loop_us()
        watching.on_step("evaluating ...")
        evidence = await asyncio.to_thread(_gather_evidence, stage, outcome)
        counts = {
            each.group.name: count_group(each, archived)
            for each, archived in zip(evidence, outcome.archived, strict=True)
        }
        return CaseResult(
            name=case.name,
            case=asdict(case),
            payloads=payloads.source,
            payload_bytes_mean=round(payloads.mean_bytes(), 1),
            started_at=started_at.isoformat(timespec="seconds"),
            seconds=round(time.monotonic() - started_s, 1),
            drained_after_s=round(outcome.drained_after_s, 2),
            loop_us_before=loop_us_before,
            loop_us_after=loop_us_after,
            phases=_evaluate_phases(stage, outcome, evidence),
            counts=counts,
            growth=_compare_sizes(stage, before, after),
            curves=draw_curves(stage.sampler.samples, evidence, start_us=outcome.times[0].start_us),
            problems=find_problems(evidence, counts, stage.receiver.last),
        )


def _gather_evidence(stage: Stage, outcome: Outcome) -> list[Evidence]:
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
        deliveries = sort_out(received.list_arrivals(number), outcome.times)
        evidence.append(Evidence(group=group, sent=sent, deliveries=deliveries, reckoning=reckoning))
    return evidence


def _evaluate_phases(stage: Stage, outcome: Outcome, evidence: Sequence[Evidence]) -> list[PhaseFigures]:
    figures = []
    for index, each in enumerate(outcome.times):
        if not each.phase.is_measured:
            continue
        use: ServerUse | None = None
        if outcome.server:
            seconds = (each.end_us - each.start_us) / SECOND_US
            use = compare_server(outcome.server[index], outcome.server[index + 1], seconds)
        figures.append(
            evaluate_phase(
                each,
                {one.group.name: evaluate_group(one, each, index) for one in evidence},
                evidence,
                stage.sampler.samples,
                run_start_us=outcome.times[0].start_us,
                server=use,
            )
        )
    return figures


async def _measure_sizes(stage: Stage) -> Sizes:
    folder = stage.installation.kafka_dir
    return Sizes(
        pss_mib=await asyncio.to_thread(stage.meter.measure_pss_mib),
        database_bytes=(await read_server_figures(stage.pool)).size_bytes if stage.pool is not None else None,
        kafka_bytes=await asyncio.to_thread(_measure_logs, folder) if folder is not None else None,
    )


def _measure_logs(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*.log"):
        with contextlib.suppress(OSError):  # deleted meanwhile
            total += path.stat().st_size
    return total


def _compare_sizes(stage: Stage, before: Sizes, after: Sizes) -> Growth:
    first, last = stage.sampler.samples[0], stage.sampler.samples[-1]
    return Growth(
        rss_mib_before=_round(first.rss_mib),
        rss_mib_after=_round(last.rss_mib),
        pss_mib_before=_round(before.pss_mib),
        pss_mib_after=_round(after.pss_mib),
        database_bytes=_grow(before.database_bytes, after.database_bytes),
        kafka_bytes=_grow(before.kafka_bytes, after.kafka_bytes),
    )


def _grow(before: int | None, after: int | None) -> int | None:
    return after - before if before is not None and after is not None else None


def _round(values: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 1) for name, value in values.items()}
