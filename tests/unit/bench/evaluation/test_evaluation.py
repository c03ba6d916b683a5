import msgspec
import pytest

from bench.cases.scenario import Group, Open, Phase
from bench.evaluation.evaluation import (
    Evidence,
    compare_server,
    draw_curves,
    evaluate_group,
    evaluate_phase,
    find_sample,
    sort_out,
)
from bench.evaluation.evidence import Arrival, Reckoning, Sent
from bench.evaluation.phase_time import PhaseTime
from bench.instruments.journal import SENT, open_columns
from bench.sampling.sampler import Sample
from pipeline.core.units import SECOND_US
from pipeline.postgres.archive.counts import ServerFigures

START_US = 1_764_000_000_000_000
TIMES = [
    PhaseTime(phase=Phase(name="warm-up", seconds=2), start_us=START_US, end_us=START_US + 2 * SECOND_US),
    PhaseTime(
        phase=Phase(name="measured", seconds=10, is_measured=True),
        start_us=START_US + 2 * SECOND_US,
        end_us=START_US + 12 * SECOND_US,
    ),
]
PERIOD_US = 100_000  # ten events a second, each sent 1 ms late, answered after 3 and delivered after 5 ms
EVENTS = 120


def make_evidence(fan_out: int = 1) -> Evidence:
    columns = open_columns(SENT)
    arrivals = []
    for number in range(EVENTS):
        intended_us = START_US + number * PERIOD_US
        columns["intended_us"].append(intended_us)
        columns["sent_us"].append(intended_us + 1000)
        columns["answered_us"].append(intended_us + 3000)
        columns["accepted"].append(1)
        columns["status"].append(201)
        if fan_out:
            arrivals.append(Arrival(number, 0, intended_us, intended_us + 5000))
    return Evidence(
        group=Group(load=Open(rate_per_s=10), fan_out=fan_out),
        sent=Sent(batch=1, columns=columns, refused=frozenset()),
        deliveries=sort_out(arrivals, TIMES),
        reckoning=Reckoning(expected=EVENTS, arrived=EVENTS, repeated=0, lost=0, unasked=0),
    )


def make_sample(second: int, *, rate: int = 10, is_delivering: bool = True) -> Sample:
    """The gateway uses a tenth of a core, other processes a fifth."""
    count = rate * second
    return Sample(
        at_us=START_US + second * SECOND_US,
        cpu_s={"gateway": 5 + 0.1 * second, "generator": 0.01 * second},
        rss_mib={"gateway": 50.0, "generator": 20.0},
        machine_cpu_s=100 + 0.31 * second,
        lag={"matcher": float(second)},
        runnable_lag={"matcher": 0.0},
        archived_rows={"events": 7.0 + count, "attempts": 3.0 + count * is_delivering},
        accepted=[count],
        received=[count * is_delivering],
    )


SAMPLES = [make_sample(second) for second in range(13)]


def test_latencies_count_from_the_intended_time_of_what_belongs_to_the_phase() -> None:
    """The warm-up is left out; lateness of the generator is told, and part of all."""
    figures = evaluate_group(make_evidence(), TIMES[1], 1)

    assert figures.lateness is not None
    assert figures.acceptance is not None
    assert figures.delivery is not None
    assert (1.0, 3.0, 5.0) == (figures.lateness.p99, figures.acceptance.p50, figures.delivery.p99)
    assert 100 == figures.delivery.count
    assert (10.0, 10.0) == (figures.accepted_per_s, figures.delivered_per_s)


def test_a_phase_says_what_a_thousand_deliveries_cost() -> None:
    """Costs are by process, from the samples at the phase's ends; the rest of the machine's use was others'."""
    evidence = make_evidence()
    figures = evaluate_phase(TIMES[1], {}, [evidence], SAMPLES, run_start_us=START_US, server=None)

    assert {"gateway": 10.0, "generator": 1.0} == pytest.approx(figures.cpu_s_per_1000)
    assert {"gateway": 0.1, "generator": 0.01} == pytest.approx(figures.cores)
    assert 0.2 == pytest.approx(figures.other_cores)
    assert 1000.0 == pytest.approx(figures.generator_us_per_request)
    assert 10.0 == figures.archived_per_s
    assert (2.0, 10.0) == (figures.from_s, figures.seconds)


def test_without_deliveries_events_are_counted() -> None:
    """A case for the gateway alone counts what it accepted, and the events that were archived."""
    samples = [make_sample(second, is_delivering=False) for second in range(13)]
    figures = evaluate_phase(TIMES[1], {}, [make_evidence(0)], samples, run_start_us=START_US, server=None)

    assert 10.0 == pytest.approx(figures.cpu_s_per_1000["gateway"])
    assert 10.0 == figures.archived_per_s


def test_the_server_is_compared_with_itself() -> None:
    """The server's count never starts at nothing."""
    before = ServerFigures(rows_inserted=1000, transactions=10, wal_bytes=10_000, size_bytes=1)
    after = ServerFigures(rows_inserted=3000, transactions=30, wal_bytes=50_000, size_bytes=2)
    use = compare_server(before, after, 10.0)

    assert (200.0, 2.0, 4000.0) == (use.rows_per_s, use.transactions_per_s, use.wal_bytes_per_s)


def test_the_nearest_sample_is_taken() -> None:
    """Each end of a phase has a sample, give or take a few milliseconds."""
    assert SAMPLES[2] == find_sample(SAMPLES, START_US + 2 * SECOND_US + 400_000)


def test_curves_have_a_point_a_sample() -> None:
    """Processor use is that since the sample before; deliveries are counted by second.

    Two samples at the end of a phase are close together: nothing is made of the difference.
    """
    close = msgspec.structs.replace(SAMPLES[5], at_us=SAMPLES[5].at_us + 9000, cpu_s={"gateway": 9.0, "generator": 9.0})
    curves = draw_curves([*SAMPLES[:6], close, *SAMPLES[6:]], [make_evidence()], start_us=START_US)

    assert [float(second) for second in range(13)] == curves.at_s
    assert [0.0, *[0.1] * 12] == pytest.approx(curves.cores["gateway"])
    assert [float(second) for second in range(13)] == curves.lag["matcher"]
    assert [[second, 10] for second in range(12)] == curves.delivered["all"]
    assert {5.0} == {second.p99 for second in curves.delivery["all"]}
    assert {3.0} == {second.p99 for second in curves.acceptance["all"]}
