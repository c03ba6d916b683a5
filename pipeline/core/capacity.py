"""How large an installation must be for a load: processes, partitions, disk, memory, from what events were measured to
cost. Pure; the figures are handed in.

The measurement is one event's cost on one core, by process. The assumptions are the constants here.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.core.process_kinds import PROCESS_KINDS
from pipeline.core.units import SECOND_US

DAY_S = 86_400
KB = 1000.0
# Of a core, so that a burst, or the partitions of a process that died, find room.
BUSY_MAX = 0.6
# Of each kind, so that one may die.
PROCESSES_MIN = 2
# Partitions cannot be added later without keys moving: room for so many times the processes.
PARTITIONS_PER_PROCESS = 4
PARTITIONS_MIN = 8
# The rules of thumb that others plan with, to compare: one server for so many events, one worker for so many webhooks.
RULE_EVENTS_PER_SERVER, RULE_SERVERS_MIN = 2000, 2
RULE_DELIVERIES_PER_WORKER, RULE_WORKERS_MIN = 100, 1

SERVICES = ("kafka", "postgres")
# Whose work with a payload grows with its deliveries. Kafka holds it once for the event, and once for each of them.
PER_DELIVERY = frozenset({"matcher", "deliver"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """The cost of one event: a base, an amount for each of its deliveries, and for each 1,000 bytes of payload.

    In microseconds of a core, or in bytes on disk.
    """

    per_event: float
    per_delivery: float
    per_kb: float

    def of_event(self, fan_out: float, payload_bytes: float, *, payload_copies: float) -> float:
        """The cost of one event that goes to `fan_out` endpoints."""
        return self.per_event + self.per_delivery * fan_out + self.per_kb * payload_copies * payload_bytes / KB


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Measured figures. `cpu_us`: by process; `memory_mib`: the peak of one process."""

    source: str
    cpu_us: Mapping[str, Cost]
    kafka_bytes: Cost
    database_bytes: Cost
    memory_mib: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """A load. `events_per_s`: at the busiest time; `average_events_per_s`: over days, for disks; None: the same.

    `attempts_per_delivery`: more than 1 when endpoints fail. `connections_max`: requests in flight per deliver process.
    """

    events_per_s: float
    fan_out: float = 1.0
    payload_bytes: float = 1000.0
    endpoint_latency_ms: float = 100.0
    attempts_per_delivery: float = 1.0
    average_events_per_s: float | None = None
    archive_days: float = 30.0
    log_days: float = 7.0
    replicas: int = 3
    connections_max: int = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """The need of one kind of process. `cores`: kept busy; `for_load`: needed by the load; `processes`: to run."""

    cores: float
    for_load: int
    processes: int
    memory_mib: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """Resources needed. `*_bytes`: on disk, all replicas of the log together; `rule_*`: by the rules of thumb."""

    needs: Mapping[str, Need]
    service_cores: Mapping[str, float]
    partitions: int
    log_bytes: float
    archive_bytes_per_day: float
    archive_bytes: float
    requests_in_flight: float
    rule_servers: int
    rule_workers: int


def plan_capacity(demand: Demand, figures: Figures) -> Capacity:
    """Compute the capacity. Raises ValueError for a load that is none."""
    _check(demand)
    needs = {kind: _plan_kind(kind, demand, figures) for kind in PROCESS_KINDS}
    most = max(needs[kind].processes for kind in PROCESS_KINDS if kind != "gateway")
    average_per_s = demand.average_events_per_s if demand.average_events_per_s is not None else demand.events_per_s
    events_per_day = average_per_s * DAY_S
    archive_per_day = events_per_day * _weigh(figures.database_bytes, "postgres", demand)
    log_per_day = events_per_day * _weigh(figures.kafka_bytes, "kafka", demand)
    deliveries_per_s = demand.events_per_s * demand.fan_out
    return Capacity(
        needs=needs,
        service_cores={name: _count_cores(name, demand, figures) / BUSY_MAX for name in SERVICES},
        partitions=max(PARTITIONS_MIN, 2 ** math.ceil(math.log2(most * PARTITIONS_PER_PROCESS))),
        log_bytes=log_per_day * demand.log_days * demand.replicas,
        archive_bytes_per_day=archive_per_day,
        archive_bytes=archive_per_day * demand.archive_days,
        requests_in_flight=_count_requests(demand),
        rule_servers=max(RULE_SERVERS_MIN, math.ceil(demand.events_per_s / RULE_EVENTS_PER_SERVER)),
        rule_workers=max(RULE_WORKERS_MIN, math.ceil(deliveries_per_s / RULE_DELIVERIES_PER_WORKER)),
    )


def count_payload_copies(process: str, fan_out: float) -> float:
    """How often a process handles the payload of one event."""
    if process in PER_DELIVERY:
        return fan_out
    return 1 + fan_out if process == "kafka" else 1.0


def _plan_kind(kind: str, demand: Demand, figures: Figures) -> Need:
    cores = _count_cores(kind, demand, figures)
    for_load, reason = max(1, math.ceil(cores / BUSY_MAX)), f"{BUSY_MAX:.0%} of a core each"
    if kind == "deliver":
        for_requests = math.ceil(_count_requests(demand) / (demand.connections_max * BUSY_MAX))
        if for_requests > for_load:
            for_load, reason = for_requests, f"{BUSY_MAX:.0%} of {demand.connections_max:,} requests in flight each"
    processes = max(PROCESSES_MIN, for_load)
    if processes > for_load:
        reason = "so that one may die"
    return Need(
        cores=cores,
        for_load=for_load,
        processes=processes,
        memory_mib=processes * figures.memory_mib[kind],
        reason=reason,
    )


def _count_cores(process: str, demand: Demand, figures: Figures) -> float:
    return demand.events_per_s * _weigh(figures.cpu_us[process], process, demand) / SECOND_US


def _count_requests(demand: Demand) -> float:
    """Requests in flight to endpoints, at the busiest time."""
    attempts_per_s = demand.events_per_s * demand.fan_out * demand.attempts_per_delivery
    return attempts_per_s * demand.endpoint_latency_ms / 1000


def _weigh(cost: Cost, process: str, demand: Demand) -> float:
    """The cost of one event of this load. An attempt that fails costs what a delivery does."""
    attempts = demand.fan_out * demand.attempts_per_delivery
    return cost.of_event(attempts, demand.payload_bytes, payload_copies=count_payload_copies(process, demand.fan_out))


def _check(demand: Demand) -> None:
    for name in ("events_per_s", "payload_bytes", "archive_days", "log_days", "replicas", "connections_max"):
        if not getattr(demand, name) > 0:
            raise ValueError(f"{name} must be more than 0")
    if demand.fan_out < 0 or demand.endpoint_latency_ms < 0 or demand.attempts_per_delivery < 1:
        raise ValueError("fan_out and endpoint_latency_ms must not be negative, attempts_per_delivery at least 1")


def fit_cost(
    process: str,
    *,
    plain: float,
    large: float,
    wide: float,
    plain_bytes: float,
    large_bytes: float,
    fan_out: float,
) -> Cost:
    """The cost that explains three measurements of one event: plain (one delivery), large payload, wide fan-out.

    Noise may make a part of it negative; it counts as nothing then.
    """
    one, many = count_payload_copies(process, 1.0), count_payload_copies(process, fan_out)
    per_kb = max(0.0, (large - plain) / ((large_bytes - plain_bytes) / KB * one))
    payload_kb = plain_bytes / KB
    per_delivery = max(0.0, (wide - plain - per_kb * payload_kb * (many - one)) / (fan_out - 1))
    per_event = max(0.0, plain - per_delivery - per_kb * payload_kb * one)
    return Cost(per_event=per_event, per_delivery=per_delivery, per_kb=per_kb)
