"""Results as a page for people: a table per scenario, plots beside it. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from bench.evaluation.figures import CURVE, Latency
from bench.evaluation.result import CaseResult, Curves, GroupFigures, PhaseFigures, ScenarioResult
from bench.reports.svg import Plot, draw, draw_percentiles
from bench.sampling.machine import Machine
from pipeline.core.capacity import SERVICES
from pipeline.core.process_kinds import PROCESS_KINDS

OURS = (*PROCESS_KINDS, *SERVICES)
INSTRUMENTS = ("generator", "receiver")
FIGURES = (
    *("case", "phase", "endpoints", "seconds", "accepted/s", "delivered/s", "archived/s"),
    *("p50", "p90", "p99", "p99.9", "max", "accepted p50", "p99", "CPU s/1000"),
)
USE = (
    *("case", "phase", *OURS, *INSTRUMENTS, "generator µs/request", "sent late ms p50, p99"),
    *("others, cores", "loop µs", "rows/s", "WAL MiB/s"),
)
COUNTS = (
    *("case", "endpoints", "accepted", "expected", "delivered", "repeated", "lost"),
    *("archived events", "succeeded", "database MiB", "Kafka MiB"),
)
MIB = 1024 * 1024
DASH = "–"


def format_report(results: Sequence[ScenarioResult]) -> str:
    """A page of Markdown, without the plots."""
    lines = ["# Benchmark results", ""]
    machines = list(dict.fromkeys(_describe_machine(result.machine) for result in results))
    lines += [f"Machine: {machine}  " for machine in machines]
    lines += [
        "Written by `hookline bench`. Everything ran on this one machine, generator and receiver included.",
        "Latencies are in milliseconds and count from the moment an event was *to be* sent; the warm-up is left out.",
        "`accepted` ends with the gateway's answer, `delivered` with the arrival at the receiver.",
        "`CPU s/1000`: processor seconds of gateway, matcher, deliver, archive, Kafka and PostgreSQL together for",
        "1,000 deliveries (events, where nothing is delivered). `loop µs`: what 1,000 additions in Python took just",
        "before and after the load: how fast the machine was at that time.",
    ]
    for result in results:
        lines += _format_scenario(result)
    return "\n".join(lines) + "\n"


def draw_plots(result: ScenarioResult) -> dict[str, str]:
    """File name → SVG. Cases without curves have none."""
    plots: dict[str, str] = {}
    for case in result.cases:
        if case.curves is None:
            continue
        stem = _name_file(case.name)
        plots[f"{stem}-latency.svg"] = draw(_plot_latency(case, case.curves))
        plots[f"{stem}-delivered.svg"] = draw(_plot_delivered(case, case.curves))
        plots[f"{stem}-cpu.svg"] = draw(
            _plot_lines(case, case.curves, "Processor cores busy", "cores", case.curves.cores)
        )
        plots[f"{stem}-memory.svg"] = draw(_plot_lines(case, case.curves, "Memory (RSS)", "MiB", case.curves.rss_mib))
        plots[f"{stem}-lag.svg"] = draw(_plot_lines(case, case.curves, "Lag", "records", case.curves.lag))
    curves = {
        name: list(zip(CURVE, latency.curve, strict=True))
        for name, latency in _list_latencies(result)
        if latency is not None
    }
    if curves:
        plots["percentiles.svg"] = draw_percentiles("Latency by percentile", curves)
    return plots


def _format_scenario(result: ScenarioResult) -> list[str]:
    lines = ["", f"## {result.scenario}", result.about, ""]
    lines += _table(
        FIGURES,
        (
            _describe_row(case, phase, name, figures)
            for case in result.cases
            for phase in case.phases
            for name, figures in phase.groups.items()
        ),
    )
    lines += ["", "Processor seconds per 1,000, by process; the generator, others on the machine, PostgreSQL:", ""]
    lines += _table(
        USE,
        (_describe_use(case, phase) for case in result.cases for phase in case.phases),
    )
    lines += ["", "Counts of the whole run, and what it left behind:", ""]
    lines += _table(
        COUNTS,
        _describe_counts(result.cases),
    )
    lines += ["", "Memory (PSS, MiB) before and after:", ""]
    lines += _table(
        ("case", *OURS),
        ((case.name, *(_describe_growth(case, name) for name in OURS)) for case in result.cases),
    )
    for case in result.cases:
        lines += [f"\n**{case.name}: {problem}**" for problem in case.problems]
    lines += [f"\n**{failure}**" for failure in result.failures]
    lines += ["", *_describe_conditions(result)]
    return lines


def _describe_row(case: CaseResult, phase: PhaseFigures, name: str, figures: GroupFigures) -> Iterable[str]:
    latency = figures.delivery
    shown = latency or figures.acceptance
    return (
        case.name,
        phase.name,
        name,
        _number(phase.seconds),
        _number(figures.accepted_per_s),
        _number(figures.delivered_per_s) if latency is not None else DASH,
        _number(phase.archived_per_s) if phase.archived_per_s is not None else DASH,
        *(_quantiles(shown) if latency is not None else (DASH,) * 5),
        _ms(figures.acceptance.p50) if figures.acceptance is not None else DASH,
        _ms(figures.acceptance.p99) if figures.acceptance is not None else DASH,
        _sum_use(phase),
    )


def _sum_use(phase: PhaseFigures) -> str:
    used = [phase.cpu_s_per_1000[name] for name in OURS if name in phase.cpu_s_per_1000]
    return f"{sum(used):.2f}" if used else DASH


def _describe_use(case: CaseResult, phase: PhaseFigures) -> Iterable[str]:
    used = phase.cpu_s_per_1000
    return (
        case.name,
        phase.name,
        *(f"{used[name]:.3f}" if name in used else DASH for name in (*OURS, *INSTRUMENTS)),
        f"{phase.generator_us_per_request:.0f}",
        _describe_lateness(phase),
        f"{phase.other_cores:.2f}",
        f"{case.loop_us_before:.0f}, {case.loop_us_after:.0f}",
        _number(phase.server.rows_per_s) if phase.server is not None else DASH,
        f"{phase.server.wal_bytes_per_s / MIB:.1f}" if phase.server is not None else DASH,
    )


def _describe_lateness(phase: PhaseFigures) -> str:
    """The generator's lateness, of the worst group."""
    found = [figures.lateness for figures in phase.groups.values() if figures.lateness is not None]
    worst = max(found, key=lambda latency: latency.p99, default=None)
    return f"{worst.p50:.1f}, {worst.p99:.1f}" if worst is not None else DASH


def _describe_counts(cases: Iterable[CaseResult]) -> Iterator[Iterable[str]]:
    for case in cases:
        for name, counts in case.counts.items():
            yield (
                case.name,
                name,
                _number(counts.accepted),
                _number(counts.deliveries_expected),
                _number(counts.delivered),
                _number(counts.repeated),
                _number(counts.lost),
                _number(counts.archived_events) if counts.archived_events is not None else DASH,
                _number(counts.archived_succeeded) if counts.archived_succeeded is not None else DASH,
                _mib(case.growth.database_bytes),
                _mib(case.growth.kafka_bytes),
            )


def _describe_growth(case: CaseResult, name: str) -> str:
    before, after = case.growth.pss_mib_before, case.growth.pss_mib_after
    return f"{before[name]:.0f} → {after[name]:.0f}" if name in before and name in after else DASH


def _describe_conditions(result: ScenarioResult) -> list[str]:
    cases = "; ".join(
        f"{case.name}: {case.payloads}, started {case.started_at}, {case.seconds:g} s in all" for case in result.cases
    )
    settings = ", ".join(f"`{name}={value}`" for name, value in result.settings.items()) or "none"
    return [f"`{result.command_line}` at {result.commit}; settings: {settings}. {cases}."]


def _describe_machine(machine: Machine) -> str:
    return (
        f"{machine.cores} cores of {machine.cpu}, {machine.memory_gib:g} GiB, {machine.system}, {machine.kernel}, "
        f"Python {machine.python}"
    )


def _list_latencies(result: ScenarioResult) -> Iterator[tuple[str, Latency | None]]:
    for case in result.cases:
        for phase in case.phases:
            for name, figures in phase.groups.items():
                words = [case.name]
                words += [phase.name] if len(case.phases) > 1 else []
                words += [name] if len(phase.groups) > 1 else []
                yield ", ".join(words), figures.delivery or figures.acceptance


def _plot_latency(case: CaseResult, curves: Curves) -> Plot:
    lines: dict[str, list[tuple[float, float]]] = {}
    is_delivering = any(curves.delivery.values())
    shown = curves.delivery if is_delivering else curves.acceptance
    for name, seconds in shown.items():
        for quantile in ("p50", "p99"):
            words = f"{name} {quantile}" if len(shown) > 1 else quantile
            lines[words] = [(second.at_s, getattr(second, quantile)) for second in seconds]
    return Plot(
        title=f"{case.name}: from the intended sending to the {'arrival' if is_delivering else 'acceptance'}",
        x_label="seconds",
        y_label="ms",
        lines=lines,
        marks=_mark_phases(case),
        is_logarithmic=True,
    )


def _plot_delivered(case: CaseResult, curves: Curves) -> Plot:
    lines = {
        name: [(float(second), float(count)) for second, count in points] for name, points in curves.delivered.items()
    }
    return Plot(
        title=f"{case.name}: deliveries",
        x_label="seconds",
        y_label="1/s",
        lines=lines,
        marks=_mark_phases(case),
    )


def _plot_lines(
    case: CaseResult, curves: Curves, title: str, y_label: str, values_by_name: Mapping[str, Sequence[float]]
) -> Plot:
    return Plot(
        title=f"{case.name}: {title.lower()}",
        x_label="seconds",
        y_label=y_label,
        lines={
            name: [(at_s, value) for at_s, value in zip(curves.at_s, values, strict=True) if at_s >= 0]
            for name, values in values_by_name.items()
        },
        marks=_mark_phases(case),
    )


def _mark_phases(case: CaseResult) -> dict[str, float]:
    return {phase.name: phase.from_s for phase in case.phases}


def _name_file(*words: str) -> str:
    text = "-".join(words).lower()
    return "-".join("".join(character if character.isalnum() else " " for character in text).split())


def _quantiles(latency: Latency | None) -> tuple[str, ...]:
    if latency is None:
        return (DASH,) * 5
    return tuple(_ms(value) for value in (latency.p50, latency.p90, latency.p99, latency.p999, latency.most))


def _ms(value: float) -> str:
    return f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


def _number(value: float) -> str:
    return f"{value:,.0f}"


def _mib(value: int | None) -> str:
    return DASH if value is None else f"{value / MIB:,.1f}"


def _table(head: Sequence[str], rows: Iterable[Iterable[str]]) -> list[str]:
    return ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)] + ["| " + " | ".join(row) + " |" for row in rows]
