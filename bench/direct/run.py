"""Measurements without a stream of events: reads of the API beside a full archive, and the archive's writes.

The figures go into the same result as those of a load, so that reports and comparisons know them: what was done a
second is `accepted_per_s`, how long one took is `acceptance`.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from pydantic import SecretStr

from bench.cases.scenario import ArchiveWrites, Case, FullArchive, Reads
from bench.direct.measured import Measured
from bench.direct.reads import measure_reads
from bench.direct.writes import measure_writes
from bench.errors import BenchError
from bench.evaluation.figures import summarize
from bench.evaluation.result import CaseResult, GroupFigures, Growth, PhaseFigures
from bench.sampling.machine import measure_loop_us
from bench.staging.installation import Installation
from bench.staging.stage import Watching
from pipeline.clock import wall_us
from pipeline.config import DatabaseConfig
from pipeline.postgres.archive.filling import fill_archive
from pipeline.postgres.pool import open_pool

NOTHING_GREW = Growth(
    rss_mib_before={}, rss_mib_after={}, pss_mib_before={}, pss_mib_after={}, database_bytes=None, kafka_bytes=None
)


@dataclass(frozen=True, slots=True)
class Clock:
    """The start of a case."""

    at: datetime
    monotonic_s: float


async def run_direct_case(installation: Installation, case: Case, watching: Watching, *, is_ours: bool) -> CaseResult:
    """Measure a case. `is_ours`: the installation is thrown away afterwards. Raises `BenchError`."""
    if not is_ours:
        raise BenchError(f"{case.name!r} fills the archive: it is measured in a new installation, without --api")
    clock, loop_us_before = Clock(datetime.now(UTC), time.monotonic()), measure_loop_us()
    config = DatabaseConfig(write_url=SecretStr(installation.database_url))
    pool = await open_pool(config, config.write_url, name="bench", size_max=2)
    try:
        match case.direct:
            case Reads():
                if isinstance(case.preparation, FullArchive):
                    await fill_archive(
                        pool,
                        case.preparation.rows,
                        now_us=wall_us(),
                        progress=lambda rows: watching.on_step(f"filling the archive: {rows:,} rows ..."),
                    )
                found = await measure_reads(installation, pool, case.direct, watching)
            case ArchiveWrites():
                found = await measure_writes(config, pool, case.direct, watching)
            case None:
                raise BenchError(f"{case.name} measures no reads and no writes")
    finally:
        await pool.close()
    return _describe(case, found, clock, loop_us_before)


def _describe(case: Case, found: Sequence[Measured], clock: Clock, loop_us_before: float) -> CaseResult:
    problems = [f"{each.name}: {each.failures} of {len(each.latencies_us)} failed" for each in found if each.failures]
    return CaseResult(
        name=case.name,
        case=asdict(case),
        payloads="none",
        payload_bytes_mean=0.0,
        started_at=clock.at.isoformat(timespec="seconds"),
        seconds=round(time.monotonic() - clock.monotonic_s, 1),
        drained_after_s=0.0,
        loop_us_before=loop_us_before,
        loop_us_after=measure_loop_us(),
        phases=[
            PhaseFigures(
                name=each.name,
                from_s=round(each.began_s - clock.monotonic_s, 1),
                seconds=round(each.seconds, 2),
                groups={
                    "all": GroupFigures(
                        accepted_per_s=round(each.units / each.seconds, 1),
                        delivered_per_s=0.0,
                        lateness=None,
                        acceptance=summarize(each.latencies_us),
                        delivery=None,
                    )
                },
                archived_per_s=None,
                cpu_s_per_1000={},
                cores={},
                other_cores=0.0,
                generator_us_per_request=0.0,
                server=each.server,
            )
            for each in found
        ],
        counts={},
        growth=NOTHING_GREW,
        problems=problems,
    )
