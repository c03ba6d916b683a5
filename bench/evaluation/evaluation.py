"""Journals and samples become the figures of a run. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from bench.cases.scenario import Group
from bench.evaluation.evidence import Arrival, Reckoning, Sent
from bench.evaluation.figures import Second, summarize, summarize_seconds
from bench.evaluation.phase_time import PhaseTime
from bench.evaluation.result import Curves, GroupFigures, PhaseFigures, ServerUse
from bench.instruments.client import NO_ANSWER
from bench.sampling.sampler import Sample
from pipeline.core.units import SECOND_US
from pipeline.postgres.archive.counts import ServerFigures

US_PER_S = 1_000_000
APART_MIN_US = 400_000


@dataclass(slots=True, kw_only=True)
class Deliveries:
    """The arrivals of a group, sorted out in one pass."""

    latencies_us: list[list[int]]  # by phase, of the events due in it
    arrived: list[int]  # by phase, what arrived in it
    per_second: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    seconds: list[Second] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that is known of a group when a run is over."""

    group: Group
    sent: Sent
    deliveries: Deliveries
    reckoning: Reckoning


def sort_out(arrivals: Iterable[Arrival], times: Sequence[PhaseTime]) -> Deliveries:
    """Sort deliveries by phase and by second."""
    found = Deliveries(latencies_us=[[] for _ in times], arrived=[0] * len(times))
    start_us = times[0].start_us
    points: list[tuple[int, int]] = []
    for arrival in arrivals:
        latency_us = arrival.arrived_us - arrival.intended_us
        points.append((arrival.intended_us, latency_us))
        found.per_second[(arrival.arrived_us - start_us) // SECOND_US] += 1
        for index, time in enumerate(times):
            if time.holds(arrival.intended_us):
                found.latencies_us[index].append(latency_us)
            if time.holds(arrival.arrived_us):
                found.arrived[index] += 1
    found.seconds = summarize_seconds(points, start_us=start_us)
    return found


def evaluate_group(evidence: Evidence, time: PhaseTime, index: int) -> GroupFigures:
    """A group in the phase number `index`."""
    columns = evidence.sent.columns
    lateness_us: list[int] = []
    acceptance_us: list[int] = []
    accepted = 0
    for intended_us, sent_us, answered_us, count, status in zip(
        columns["intended_us"],
        columns["sent_us"],
        columns["answered_us"],
        columns["accepted"],
        columns["status"],
        strict=True,
    ):
        if time.holds(answered_us):
            accepted += count
        if time.holds(intended_us):
            lateness_us.append(sent_us - intended_us)
            if status != NO_ANSWER:
                acceptance_us.append(answered_us - intended_us)
    seconds = (time.end_us - time.start_us) / SECOND_US
    return GroupFigures(
        accepted_per_s=round(accepted / seconds, 1),
        delivered_per_s=round(evidence.deliveries.arrived[index] / seconds, 1),
        lateness=summarize(lateness_us),
        acceptance=summarize(acceptance_us),
        delivery=summarize(evidence.deliveries.latencies_us[index]),
    )


def evaluate_phase(
    time: PhaseTime,
    groups: Mapping[str, GroupFigures],
    evidence: Sequence[Evidence],
    samples: Sequence[Sample],
    *,
    run_start_us: int,
    server: ServerUse | None,
) -> PhaseFigures:
    """A phase as a whole, of which there is a sample at each end."""
    first, last = find_sample(samples, time.start_us), find_sample(samples, time.end_us)
    seconds = (last.at_us - first.at_us) / SECOND_US or 1.0
    used_s = {name: cpu_s - first.cpu_s.get(name, 0.0) for name, cpu_s in last.cpu_s.items()}
    is_delivering = any(each.group.fan_out for each in evidence)
    done = _count_done(first, last, evidence, is_delivering=is_delivering)
    table = "attempts" if is_delivering else "events"
    archived = last.archived_rows.get(table, 0.0) - first.archived_rows.get(table, 0.0)
    others_s = last.machine_cpu_s - first.machine_cpu_s - sum(used_s.values())
    requests = sum(time.holds(sent_us) for each in evidence for sent_us in each.sent.columns["sent_us"])
    return PhaseFigures(
        name=time.phase.name,
        from_s=round((time.start_us - run_start_us) / SECOND_US, 2),
        seconds=round((time.end_us - time.start_us) / SECOND_US, 2),
        groups=dict(groups),
        archived_per_s=round(archived / seconds, 1) if last.archived_rows.get("events") else None,
        cpu_s_per_1000={name: round(1000 * used / done, 4) for name, used in used_s.items()} if done else {},
        cores={name: round(used / seconds, 3) for name, used in used_s.items()},
        other_cores=round(max(0.0, others_s) / seconds, 3),
        generator_us_per_request=round(US_PER_S * used_s.get("generator", 0.0) / requests, 1) if requests else 0.0,
        server=server,
    )


def _count_done(first: Sample, last: Sample, evidence: Sequence[Evidence], *, is_delivering: bool) -> int:
    """Deliveries between two samples; events when nothing is delivered."""
    if is_delivering:
        return sum(last.received) - sum(first.received)
    return sum(last.accepted) - sum(first.accepted)


def find_sample(samples: Sequence[Sample], at_us: int) -> Sample:
    """The one nearest to a time."""
    return min(samples, key=lambda sample: abs(sample.at_us - at_us))


def compare_server(before: ServerFigures, after: ServerFigures, seconds: float) -> ServerUse:
    """The server's work between two readings of its counters."""
    return ServerUse(
        rows_per_s=round((after.rows_inserted - before.rows_inserted) / seconds, 1),
        transactions_per_s=round((after.transactions - before.transactions) / seconds, 1),
        wal_bytes_per_s=round((after.wal_bytes - before.wal_bytes) / seconds),
    )


def draw_curves(samples: Sequence[Sample], evidence: Sequence[Evidence], *, start_us: int) -> Curves:
    """The curves of the plots. Of samples close together only the first: tiny differences are noise."""
    samples = _thin(samples)
    names = sorted(samples[-1].cpu_s) if samples else []
    processes = sorted(samples[-1].lag) if samples else []
    cores: dict[str, list[float]] = {name: [0.0] for name in names}
    for before, after in pairwise(samples):
        seconds = max((after.at_us - before.at_us) / SECOND_US, 1e-3)
        for name in names:
            cores[name].append(round((after.cpu_s[name] - before.cpu_s[name]) / seconds, 3))
    return Curves(
        at_s=[round((sample.at_us - start_us) / SECOND_US, 2) for sample in samples],
        cores=cores,
        rss_mib={name: [round(sample.rss_mib[name], 1) for sample in samples] for name in names},
        lag={name: [sample.lag.get(name, 0.0) for sample in samples] for name in processes},
        runnable_lag={name: [sample.runnable_lag.get(name, 0.0) for sample in samples] for name in processes},
        acceptance={each.group.name: _sum_up_answers(each.sent, start_us) for each in evidence},
        delivery={each.group.name: each.deliveries.seconds for each in evidence},
        delivered={each.group.name: _count_seconds(each.deliveries.per_second) for each in evidence},
    )


def _sum_up_answers(sent: Sent, start_us: int) -> list[Second]:
    columns = sent.columns
    answers = zip(columns["intended_us"], columns["answered_us"], columns["status"], strict=True)
    points = [(intended_us, answered_us - intended_us) for intended_us, answered_us, status in answers if status]
    return summarize_seconds(points, start_us=start_us)


def _thin(samples: Sequence[Sample]) -> list[Sample]:
    kept: list[Sample] = []
    for sample in samples:
        if not kept or sample.at_us - kept[-1].at_us >= APART_MIN_US:
            kept.append(sample)
    return kept


def _count_seconds(per_second: Mapping[int, int]) -> list[list[int]]:
    """Count the seconds, those without an arrival included."""
    return [[second, per_second.get(second, 0)] for second in range(max(per_second, default=-1) + 1)]
