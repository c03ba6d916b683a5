from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.capacity import (
    BUSY_MAX,
    SERVICES,
    Cost,
    Demand,
    Figures,
    count_payload_copies,
    fit_cost,
    plan_capacity,
)
from pipeline.core.process_kinds import PROCESS_KINDS

FIGURES = Figures(
    source="made up",
    cpu_us={name: Cost(per_event=50.0, per_delivery=100.0, per_kb=10.0) for name in (*PROCESS_KINDS, *SERVICES)},
    kafka_bytes=Cost(per_event=200.0, per_delivery=300.0, per_kb=500.0),
    database_bytes=Cost(per_event=400.0, per_delivery=600.0, per_kb=1000.0),
    memory_mib=dict.fromkeys((*PROCESS_KINDS, *SERVICES), 60.0),
)
DEMAND = Demand(events_per_s=1000.0)


def test_cores_are_what_events_cost() -> None:
    """A thousand a second of 160 µs each: 0.16 cores; of the matcher's as well."""
    needs = plan_capacity(DEMAND, FIGURES).needs

    assert 0.16 == pytest.approx(needs["gateway"].cores)
    assert 0.16 == pytest.approx(needs["matcher"].cores)


def test_nobody_runs_only_one() -> None:
    """One may die; the reason is told."""
    need = plan_capacity(DEMAND, FIGURES).needs["gateway"]

    assert (1, 2, 120.0, "so that one may die") == (need.for_load, need.processes, need.memory_mib, need.reason)


def test_more_load_needs_more_processes() -> None:
    """None busier than 60 % of a core: 10,000 events of 160 µs keep 1.6 cores busy."""
    need = plan_capacity(replace(DEMAND, events_per_s=10_000.0), FIGURES).needs["gateway"]

    assert 3 == need.for_load == need.processes
    assert f"{BUSY_MAX:.0%} of a core each" == need.reason


def test_slow_endpoints_need_connections() -> None:
    """1,000 a second that take 3 s each are 3,000 at a time, of which a process carries 600."""
    capacity = plan_capacity(replace(DEMAND, endpoint_latency_ms=3000.0), FIGURES)

    assert 3000.0 == capacity.requests_in_flight
    assert 5 == capacity.needs["deliver"].processes
    assert "60% of 1,000 requests in flight each" == capacity.needs["deliver"].reason


def test_fan_out_costs_where_deliveries_are() -> None:
    """Each endpoint gets the payload; the gateway and the archive handle it once."""
    plan = plan_capacity(replace(DEMAND, fan_out=10.0, payload_bytes=2000.0), FIGURES)

    assert (50 + 10 * 100 + 10 * 2) / 1000 == pytest.approx(plan.needs["gateway"].cores)
    assert (50 + 10 * 100 + 10 * 10 * 2) / 1000 == pytest.approx(plan.needs["deliver"].cores)
    assert (50 + 10 * 100 + 11 * 10 * 2) / 1000 == pytest.approx(BUSY_MAX * plan.service_cores["kafka"])


def test_disks_grow_by_what_is_kept() -> None:
    """Kafka's disks count all replicas; figures are from the average, if one is given."""
    demand = replace(DEMAND, average_events_per_s=100.0, log_days=2.0, replicas=3, archive_days=30.0)
    plan = plan_capacity(demand, FIGURES)
    events_per_day = 100 * 86_400

    assert events_per_day * (200 + 300 + 2 * 500) * 2 * 3 == pytest.approx(plan.log_bytes)
    assert events_per_day * (400 + 600 + 1000) == pytest.approx(plan.archive_bytes_per_day)
    assert 30 * plan.archive_bytes_per_day == pytest.approx(plan.archive_bytes)


def test_failing_endpoints_cost_attempts() -> None:
    """Two for each delivery: two requests in flight, two rows."""
    once, twice = (plan_capacity(replace(DEMAND, attempts_per_delivery=each), FIGURES) for each in (1.0, 2.0))

    assert 2 * once.requests_in_flight == twice.requests_in_flight
    assert 86_400 * 1000 * 600 == pytest.approx(twice.archive_bytes_per_day - once.archive_bytes_per_day)


@pytest.mark.parametrize(
    ("events_per_s", "fan_out", "servers", "workers"), [(10, 0, 2, 1), (1000, 1, 2, 10), (5000, 3, 3, 150)]
)
def test_rules_of_thumb_are_shown_beside(events_per_s: float, fan_out: float, servers: int, workers: int) -> None:
    """2,000 events a second for a server, at least 2; 100 webhooks for a worker, at least 1."""
    plan = plan_capacity(replace(DEMAND, events_per_s=events_per_s, fan_out=fan_out), FIGURES)

    assert (servers, workers) == (plan.rule_servers, plan.rule_workers)


@given(
    events_per_s=st.floats(0.1, 1e6), fan_out=st.floats(0, 100), latency_ms=st.floats(0, 30_000), more=st.floats(1, 10)
)
def test_more_never_needs_less(events_per_s: float, fan_out: float, latency_ms: float, more: float) -> None:
    """More load needs no less of anything; partitions are a power of two with room for the processes to grow."""
    demand = replace(DEMAND, events_per_s=events_per_s, fan_out=fan_out, endpoint_latency_ms=latency_ms)
    small = plan_capacity(demand, FIGURES)
    large = plan_capacity(replace(demand, events_per_s=events_per_s * more), FIGURES)

    assert all(small.needs[kind].processes <= large.needs[kind].processes for kind in PROCESS_KINDS)
    assert small.log_bytes <= large.log_bytes
    assert small.partitions <= large.partitions
    assert large.partitions.bit_count() == 1
    assert large.partitions >= 4 * max(large.needs[kind].processes for kind in PROCESS_KINDS if kind != "gateway")


@pytest.mark.parametrize(
    "members", [{"events_per_s": 0.0}, {"fan_out": -1.0}, {"attempts_per_delivery": 0.5}, {"payload_bytes": 0.0}]
)
def test_a_load_that_is_none_is_refused(members: dict[str, float]) -> None:
    """The refusal names what is wrong."""
    with pytest.raises(ValueError, match=next(iter(members))):
        plan_capacity(replace(DEMAND, **members), FIGURES)  # type: ignore[arg-type]  # numbers all of them


COSTS = st.floats(0, 1000)


@given(process=st.sampled_from((*PROCESS_KINDS, *SERVICES)), per_event=COSTS, per_delivery=COSTS, per_kb=COSTS)
def test_a_cost_is_found_from_three_measurements(
    process: str, per_event: float, per_delivery: float, per_kb: float
) -> None:
    """The cost is found whatever the measurements are made of."""
    cost = Cost(per_event=per_event, per_delivery=per_delivery, per_kb=per_kb)

    def measure(fan_out: float, payload_bytes: float) -> float:
        return cost.of_event(fan_out, payload_bytes, payload_copies=count_payload_copies(process, fan_out))

    found = fit_cost(
        process,
        plain=measure(1, 1000),
        large=measure(1, 9000),
        wide=measure(10, 1000),
        plain_bytes=1000,
        large_bytes=9000,
        fan_out=10,
    )

    assert per_event == pytest.approx(found.per_event, abs=1e-6)
    assert per_delivery == pytest.approx(found.per_delivery, abs=1e-6)
    assert per_kb == pytest.approx(found.per_kb, abs=1e-6)


def test_noise_does_not_make_anything_cheaper_than_nothing() -> None:
    """Larger payloads that seemed to cost less cost the same."""
    found = fit_cost("gateway", plain=100, large=90, wide=95, plain_bytes=1000, large_bytes=9000, fan_out=10)

    assert (100, 0, 0) == (found.per_event, found.per_delivery, found.per_kb)
