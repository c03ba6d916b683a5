"""The result of a run, as it is written to a file."""

from typing import Any

import msgspec

from bench.evaluation.figures import Latency, Second
from bench.sampling.machine import Machine

FORMAT = 1  # raised when a reader of older files would misread newer ones


class GroupFigures(msgspec.Struct, frozen=True, kw_only=True):
    """A group in a phase. `*_per_s`: of what happened in it; latencies of events due in it.

    `lateness`: how long after its time the generator sent; `acceptance`: until the gateway's answer, `delivery`: until
    the arrival at the receiver, both from the time at which it was to be sent.
    """

    accepted_per_s: float
    delivered_per_s: float
    lateness: Latency | None
    acceptance: Latency | None
    delivery: Latency | None


class ServerUse(msgspec.Struct, frozen=True, kw_only=True):
    """PostgreSQL's work in a phase, by second."""

    rows_per_s: float
    transactions_per_s: float
    wal_bytes_per_s: float


class PhaseFigures(msgspec.Struct, frozen=True, kw_only=True):
    """A measured phase. `archived_per_s`: attempts, or events when nothing is delivered.

    `cpu_s_per_1000`: processor seconds for 1,000 deliveries (events, when nothing is delivered), by process; `cores`:
    how many each kept busy; `other_cores`: used by all other processes of the machine.
    """

    name: str
    from_s: float
    seconds: float
    groups: dict[str, GroupFigures]
    archived_per_s: float | None
    cpu_s_per_1000: dict[str, float]
    cores: dict[str, float]
    other_cores: float
    generator_us_per_request: float
    server: ServerUse | None


class GroupCounts(msgspec.Struct, frozen=True, kw_only=True):
    """A group in the whole run. `unknown`: requests without an answer that says what became of them.

    `archived_*` None: the database is not known.
    """

    statuses: dict[str, int]
    accepted: int
    refused: int
    unknown: int
    deliveries_expected: int
    delivered: int
    repeated: int
    lost: int
    unasked: int
    archived_events: int | None
    archived_deliveries: int | None
    archived_succeeded: int | None


class Growth(msgspec.Struct, frozen=True, kw_only=True):
    """Memory and disk before and after."""

    rss_mib_before: dict[str, float]
    rss_mib_after: dict[str, float]
    pss_mib_before: dict[str, float]
    pss_mib_after: dict[str, float]
    database_bytes: int | None
    kafka_bytes: int | None


class Curves(msgspec.Struct, frozen=True, kw_only=True):
    """Points for plots, one a second from the start of the run; `acceptance`, `delivery` and `delivered` by group."""

    at_s: list[float]
    cores: dict[str, list[float]]
    rss_mib: dict[str, list[float]]
    lag: dict[str, list[float]]
    runnable_lag: dict[str, list[float]]
    acceptance: dict[str, list[Second]]
    delivery: dict[str, list[Second]]
    delivered: dict[str, list[list[int]]]  # [second, arrivals in it]


class CaseResult(msgspec.Struct, frozen=True, kw_only=True):
    """A run. `problems`: why its figures must not be believed, or losses; none when all is well.

    `loop_us_*`: how fast the machine was, see `measure_loop_us`. `curves`: None in a result that was read from
    its file; they are kept beside the plots.
    """

    name: str
    case: dict[str, Any]
    payloads: str
    payload_bytes_mean: float
    started_at: str
    seconds: float
    drained_after_s: float
    loop_us_before: float
    loop_us_after: float
    phases: list[PhaseFigures]
    counts: dict[str, GroupCounts]
    growth: Growth
    problems: list[str]
    curves: Curves | None = None


class ScenarioResult(msgspec.Struct, frozen=True, kw_only=True):
    """A file. `settings`: those of the environment, secrets hidden. `failures`: cases that did not come to an end."""

    format: int = FORMAT
    scenario: str
    about: str
    command_line: str
    commit: str
    machine: Machine
    settings: dict[str, str]
    cases: list[CaseResult]
    failures: list[str] = []
