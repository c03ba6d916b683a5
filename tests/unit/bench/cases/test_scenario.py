import pytest

from bench.cases.catalogue import BY_NAME, LONG, RISING, SCENARIOS
from bench.cases.scenario import (
    MEASURED,
    WARM_UP,
    WARM_UP_S,
    ArchiveWrites,
    Burst,
    Case,
    FullArchive,
    Group,
    Open,
    Phase,
    Reads,
    Rising,
    Scenario,
    Share,
    Wishes,
    adapt,
)
from bench.instruments.stamp import STREAMS_MAX
from pipeline.core.process_kinds import PROCESS_KINDS

# those that have a load; the others measure directly
CASES = [(scenario, case) for scenario in SCENARIOS for case in scenario.cases if case.direct is None]
cases = pytest.mark.parametrize(
    ("scenario", "case"), CASES, ids=[f"{scenario.name}, {case.name}" for scenario, case in CASES]
)


@cases
def test_a_case_holds_together(scenario: Scenario, case: Case) -> None:
    """Groups, phases, kinds of processes and the case whose rate it takes a share of exist."""
    groups = {group.name for group in case.groups}
    phases = {phase.name for phase in case.phases}
    before = {other.name for other in scenario.cases[: scenario.cases.index(case)]}

    assert len(groups) == len(case.groups) <= STREAMS_MAX
    assert len(phases) == len(case.phases)
    assert {group.starts_in for group in case.groups} - {None} <= phases
    assert {name for phase in case.phases for name in phase.answers} <= groups
    waited_for = {phase.until_accepted for phase in case.phases} | {phase.until_delivered for phase in case.phases}
    assert waited_for - {None} <= {group.name for group in case.groups if isinstance(group.load, Burst)}
    assert {group.load.of for group in case.groups if isinstance(group.load, Share)} <= before
    assert case.counts.keys() <= set(PROCESS_KINDS)
    assert any(phase.is_measured for phase in case.phases)
    assert not case.phases[0].is_measured, "the first phase warms up"


def test_names_are_unique() -> None:
    """Names of scenarios name files, and names of cases among each other rows."""
    assert len(BY_NAME) == len(SCENARIOS)
    assert all(len({case.name for case in scenario.cases}) == len(scenario.cases) for scenario in SCENARIOS)
    assert BY_NAME.keys() >= LONG


RATED = Scenario(
    name="rated",
    about="",
    cases=tuple(Case(name=f"{rate}/s", groups=(Group(load=Open(rate_per_s=rate)),)) for rate in (1, 2)),
    varies_rate=True,
)


def test_without_wishes_a_scenario_stays_as_it_is() -> None:
    """The catalogue is the catalogue."""
    assert all(scenario == adapt(scenario, Wishes()) for scenario in SCENARIOS)


def test_a_rate_makes_one_case_of_those_that_differ_by_it() -> None:
    """Named by the rate."""
    (case,) = adapt(RATED, Wishes(rate_per_s=300)).cases

    assert "300/s" == case.name
    assert Open(rate_per_s=300) == case.groups[0].load


def test_a_rate_leaves_other_loads_alone() -> None:
    """A burst stays one, and so do the cases."""
    scenario = BY_NAME["backlog"]
    (case,) = adapt(scenario, Wishes(rate_per_s=300)).cases

    assert [Open(rate_per_s=300), Burst(events=100_000)] == [group.load for group in case.groups]


def test_a_duration_is_that_of_what_is_measured() -> None:
    """Warm-up, and phases that end when something has happened, do not count."""
    (case,) = adapt(BY_NAME["backlog"], Wishes(duration_s=7, warm_up_s=2)).cases

    assert {WARM_UP: 2, "before": 7, "filling": 600, "parking": 7, "with the backlog": 7} == {
        phase.name: phase.seconds for phase in case.phases
    }


def test_a_size_does_not_change_real_payloads() -> None:
    """Which have the sizes that they have; `real_payloads` makes all of them real."""
    scenario = BY_NAME["payloads"]

    assert [500, None] == [case.payload_bytes for case in adapt(scenario, Wishes(payload_bytes=500)).cases]
    assert [None, None] == [case.payload_bytes for case in adapt(scenario, Wishes(real_payloads=True)).cases]


def test_rows_bursts_and_counts_can_be_wished() -> None:
    """Each where there is such a thing."""
    full = adapt(BY_NAME["full-archive"], Wishes(archive_rows=5, counts={"deliver": 3}))
    burst = adapt(BY_NAME["recovery"], Wishes(burst_events=9))

    assert [None, FullArchive(rows=5), FullArchive(rows=5)] == [case.preparation for case in full.cases]
    assert [{"deliver": 3}] * 3 == [case.counts for case in full.cases]
    assert Burst(events=9) in [group.load for group in burst.cases[0].groups]


def test_a_case_measures_half_a_minute_by_default() -> None:
    """The half minute follows after as much of warm-up."""
    case = Case(name="x", groups=(Group(load=Open(rate_per_s=1)),))

    assert (Phase(name=WARM_UP, seconds=WARM_UP_S), Phase(name=MEASURED, seconds=30.0, is_measured=True)) == case.phases


def test_a_duration_holds_for_what_is_measured_directly() -> None:
    """Reads and writes have no phases; a case with neither has no load of another kind."""
    (reads,) = adapt(BY_NAME["reads"], Wishes(duration_s=3.0, rate_per_s=500.0, archive_rows=4000)).cases
    (writes,) = adapt(BY_NAME["archive"], Wishes(duration_s=3.0)).cases

    assert Reads(seconds=3.0, rate_per_s=500.0) == reads.direct
    assert FullArchive(rows=4000) == reads.preparation
    assert ArchiveWrites(seconds=3.0) == writes.direct
    assert () == reads.groups == writes.groups


def test_phases_are_the_steps_of_a_rising_load() -> None:
    """A shorter duration makes shorter steps, of the load as of the phases, the first one as well."""
    (case,) = adapt(RISING, Wishes(duration_s=5.0, warm_up_s=60.0)).cases

    assert [Rising(by_per_s=50, every_s=5.0)] == [group.load for group in case.groups]
    assert [5.0] * 21 == [phase.seconds for phase in case.phases]
