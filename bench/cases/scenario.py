"""Scenarios of a benchmark, their cases, and in a case groups of endpoints under load in phases. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from bench.instruments.plan import Answer

WARM_UP, MEASURED = "warm-up", "measured"
# Kafka compiles itself while it works: before, a record costs it three to five times as much.
WARM_UP_S = 30.0
# Planning is based on these cases of this scenario.
SATURATION_NAME = "saturation"
PLAIN_CASE, LARGE_CASE, FAN_OUT_CASE = "1 KB", "real payloads", "fan-out 10"
ANSWERS_AT_ONCE = Answer()


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """Sends events at fixed times, a number a second, whatever happens to them."""

    rate_per_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Rising:
    """Sends events at fixed times, more of them in each step. The first rate has two steps."""

    by_per_s: float
    every_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """Each connection sends the next event when the one before is accepted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InFlight:
    """Pace by events in flight: at most so many are sent, and not yet delivered and archived."""

    events_max: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """Events are sent at fixed times, at a share of the rate that another case of the scenario has reached."""

    of: str
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Burst:
    """Sends a number of events as fast as they are accepted."""

    events: int


Load = Open | Rising | Closed | InFlight | Share | Burst


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Endpoints that are alike, the subscriptions that lead to them, and the load on them.

    `audiences`: events go to these in turn, each matches `fan_out` subscriptions with an endpoint each.
    `idle_subscriptions`: in each application besides, matching nothing. `starts_in`: the phase in which the load
    begins, None: the first. `must_arrive`: everything must be delivered before the run ends. `rate_per_s`: the
    subscriptions' own limit, None: none. `payload_bytes`: None: as the case says.
    """

    name: str = "all"
    load: Load
    audiences: int = 20
    fan_out: int = 1
    applications: int = 4
    idle_subscriptions: int = 0
    answer: Answer = ANSWERS_AT_ONCE
    batch: int = 1
    connections: int = 64
    retry_delays_s: tuple[float, ...] | None = None
    rate_per_s: float | None = None
    payload_bytes: int | None = None
    starts_in: str | None = None
    must_arrive: bool = True

    @property
    def endpoints(self) -> int:
        return self.audiences * self.fan_out


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A stretch of a run. `answers`: what endpoints of groups do from its start on.

    It lasts `seconds`; with `until_accepted` or `until_delivered`, the name of a group, until all of its burst is, and
    then `seconds` is the longest it may take.
    """

    name: str
    seconds: float
    is_measured: bool = False
    answers: Mapping[str, Answer] = field(default_factory=dict)
    until_accepted: str | None = None
    until_delivered: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FullArchive:
    """Fills the archive with a number of rows before the load begins."""

    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledRetries:
    """Lets a number of deliveries wait for their next attempt, hours ahead."""

    deliveries: int


Preparation = FullArchive | ScheduledRetries


@dataclass(frozen=True, slots=True, kw_only=True)
class Reads:
    """No events: the API is read, each kind by so many connections, then all kinds at a rate."""

    connections: int = 8
    rate_per_s: float = 2000.0
    seconds: float = 8.0
    warm_up_s: float = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveWrites:
    """No events: rows are written as the archive process writes them. `batches`: events in a transaction."""

    batches: tuple[int, ...] = (5, 50, 500, 1250)
    seconds: float = 8.0


Direct = Reads | ArchiveWrites


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One run. `payload_bytes` None: real payloads. `counts`: of processes, 1 of a kind that is not there.

    `direct`: a measurement without events and phases.
    """

    name: str
    groups: tuple[Group, ...]
    phases: tuple[Phase, ...] = (
        Phase(name=WARM_UP, seconds=WARM_UP_S),
        Phase(name=MEASURED, seconds=30.0, is_measured=True),
    )
    payload_bytes: int | None = 1000
    counts: Mapping[str, int] = field(default_factory=dict)
    preparation: Preparation | None = None
    direct: Direct | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """Cases to compare. `about`: their purpose. `varies_rate`: they differ in nothing else."""

    name: str
    about: str
    cases: tuple[Case, ...]
    varies_rate: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """Changes that the command line makes; None: the catalogue's value."""

    rate_per_s: float | None = None
    duration_s: float | None = None
    warm_up_s: float | None = None
    payload_bytes: int | None = None  # where payloads are not real ones
    real_payloads: bool = False
    archive_rows: int | None = None
    burst_events: int | None = None
    counts: Mapping[str, int] = field(default_factory=dict)


def adapt(scenario: Scenario, wishes: Wishes) -> Scenario:
    """The scenario as it is wished."""
    cases = tuple(_adapt_case(case, wishes) for case in scenario.cases)
    if scenario.varies_rate and wishes.rate_per_s is not None:
        cases = (replace(cases[0], name=f"{wishes.rate_per_s:g}/s"),)
    return replace(scenario, cases=cases)


def _adapt_case(case: Case, wishes: Wishes) -> Case:
    payload_bytes = None if wishes.real_payloads else case.payload_bytes
    if payload_bytes is not None and wishes.payload_bytes is not None:
        payload_bytes = wishes.payload_bytes
    groups = tuple(_adapt_group(group, wishes) for group in case.groups)
    steps_s = [group.load.every_s for group in groups if isinstance(group.load, Rising)]
    preparation = case.preparation
    if isinstance(preparation, FullArchive) and wishes.archive_rows is not None:
        preparation = FullArchive(rows=wishes.archive_rows)
    return replace(
        case,
        groups=groups,
        # where a load rises, phases are its steps
        phases=tuple(
            replace(phase, seconds=steps_s[0]) if steps_s else _adapt_phase(phase, wishes) for phase in case.phases
        ),
        payload_bytes=payload_bytes,
        counts={**case.counts, **wishes.counts},
        preparation=preparation,
        direct=_adapt_direct(case.direct, wishes),
    )


def _adapt_direct(direct: Direct | None, wishes: Wishes) -> Direct | None:
    if direct is not None and wishes.duration_s is not None:
        direct = replace(direct, seconds=wishes.duration_s)
    if isinstance(direct, Reads) and wishes.rate_per_s is not None:
        direct = replace(direct, rate_per_s=wishes.rate_per_s)
    return direct


def _adapt_group(group: Group, wishes: Wishes) -> Group:
    if isinstance(group.load, Open) and wishes.rate_per_s is not None:
        return replace(group, load=Open(rate_per_s=wishes.rate_per_s))
    if isinstance(group.load, Rising):
        by_per_s = group.load.by_per_s if wishes.rate_per_s is None else wishes.rate_per_s
        every_s = group.load.every_s if wishes.duration_s is None else wishes.duration_s
        return replace(group, load=Rising(by_per_s=by_per_s, every_s=every_s))
    if isinstance(group.load, Burst) and wishes.burst_events is not None:
        return replace(group, load=Burst(events=wishes.burst_events))
    return group


def _adapt_phase(phase: Phase, wishes: Wishes) -> Phase:
    seconds: float | None = None
    if phase.is_measured and phase.until_accepted is None and phase.until_delivered is None:
        seconds = wishes.duration_s
    elif phase.name == WARM_UP:
        seconds = wishes.warm_up_s
    return phase if seconds is None else replace(phase, seconds=seconds)
