"""Results of benchmarks that never ran, for tests of what is made of results."""

from typing import Any

import msgspec

from bench.evaluation.figures import CURVE, Latency, Second
from bench.evaluation.result import (
    CaseResult,
    Curves,
    GroupCounts,
    GroupFigures,
    Growth,
    PhaseFigures,
    ScenarioResult,
    ServerUse,
)
from bench.sampling.machine import Machine

MACHINE = Machine(
    cores=2, cpu="Sample CPU", memory_gib=16.0, system="Sample OS", kernel="Linux 6", python="3.11.7", load_average=0.1
)
LATENCY = Latency(
    count=600, mean=5.5, p50=5.0, p90=8.0, p99=12.5, p999=31.0, most=140.0, curve=[float(n) for n in range(len(CURVE))]
)
PROCESSES = ("gateway", "matcher", "deliver", "archive", "kafka", "postgres", "generator", "receiver")


def make_case(name: str = "200/s", **members: Any) -> CaseResult:
    """A run in which all went well; `members` replace its own."""
    figures = GroupFigures(
        accepted_per_s=200.0, delivered_per_s=200.0, lateness=LATENCY, acceptance=LATENCY, delivery=LATENCY
    )
    phase = PhaseFigures(
        name="measured",
        from_s=5.0,
        seconds=3.0,
        groups={"all": figures},
        archived_per_s=199.5,
        cpu_s_per_1000=dict.fromkeys(PROCESSES, 0.1),
        cores=dict.fromkeys(PROCESSES, 0.02),
        other_cores=0.01,
        generator_us_per_request=25.0,
        server=ServerUse(rows_per_s=800.0, transactions_per_s=3.0, wal_bytes_per_s=1e6),
    )
    counts = GroupCounts(
        statuses={"201": 600},
        accepted=600,
        refused=0,
        unknown=0,
        deliveries_expected=600,
        delivered=600,
        repeated=0,
        lost=0,
        unasked=0,
        archived_events=600,
        archived_deliveries=600,
        archived_succeeded=600,
    )
    memory = dict.fromkeys(PROCESSES, 50.0)
    case = CaseResult(
        name=name,
        case={"groups": [{"fan_out": 1}]},
        payloads="generated payloads of 1,000 bytes",
        payload_bytes_mean=1000.0,
        started_at="2026-11-25T18:00:00+00:00",
        seconds=20.0,
        drained_after_s=0.5,
        loop_us_before=30.0,
        loop_us_after=31.0,
        phases=[phase],
        counts={"all": counts},
        growth=Growth(
            rss_mib_before=memory,
            rss_mib_after=memory,
            pss_mib_before=memory,
            pss_mib_after=dict.fromkeys(PROCESSES, 60.0),
            database_bytes=2_097_152,
            kafka_bytes=1_048_576,
        ),
        curves=Curves(
            at_s=[-1.0, 0.0, 1.0],
            cores={"gateway": [0.0, 0.1, 0.2]},
            rss_mib={"gateway": [50.0, 50.0, 51.0]},
            lag={"matcher": [0.0, 5.0, 2.0]},
            runnable_lag={"matcher": [0.0, 5.0, 2.0]},
            acceptance={"all": [Second(at_s=0, count=200, p50=3.0, p99=4.0)]},
            delivery={"all": [Second(at_s=0, count=200, p50=5.0, p99=9.0)]},
            delivered={"all": [[0, 200]]},
        ),
        problems=[],
    )
    return msgspec.structs.replace(case, **members)


def make_result(*cases: CaseResult, scenario: str = "end-to-end") -> ScenarioResult:
    """A file of results."""
    return ScenarioResult(
        scenario=scenario,
        about="What it shows.",
        command_line=f"hookline bench {scenario}",
        commit="0123456789ab",
        machine=MACHINE,
        settings={"HOOKLINE_KAFKA_PARTITIONS": "16"},
        cases=list(cases) or [make_case()],
    )
