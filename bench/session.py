"""A session: the scenarios that were asked for, one after the other, and the files that they leave."""

import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from bench.cases.payloads import generate_payload, generate_payloads, read_payloads
from bench.cases.scenario import Case, Scenario
from bench.direct.run import run_direct_case
from bench.errors import BenchError
from bench.evaluation.result import CaseResult, ScenarioResult
from bench.load.run import run_case
from bench.reports.report import draw_plots, format_report
from bench.reports.screen import BenchScreen
from bench.sampling.machine import describe_machine, find_commit
from bench.staging.installation import Installation, run_installation
from bench.staging.stage import Conditions, Payloads, Watching
from pipeline.core.process_kinds import PROCESS_KINDS

REPORT = "report.md"
PLOTS = "plots"
# Different payloads of one size: were they all alike, the log would compress them to nothing.
VARIETY = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """`installation` None: a fresh one for each case. `payload_file`: real payloads; None: generated ones."""

    scenarios: Sequence[Scenario]
    out: Path
    command_line: str
    settings: Mapping[str, str]
    installation: Installation | None
    payload_file: Path | None
    conditions: Conditions


async def run_session(session: Session, screen: BenchScreen) -> bool:
    """Run a session; is all well? Each result is written at once; a case that fails does not end the session.

    Raises `BenchError` when it cannot begin.
    """
    session.out.mkdir(parents=True, exist_ok=True)
    read_results(session.out)  # an unreadable plan is reported now, not after hours
    is_well = True
    for scenario in session.scenarios:
        result = await _run_scenario(session, scenario, screen)
        if result.cases:
            write_result(session.out, result)
            screen.say(f"written to {session.out / REPORT}")
        problems = [f"{case.name}: {problem}" for case in result.cases for problem in case.problems]
        for problem in (*problems, *result.failures):
            is_well = False
            screen.say(f"{scenario.name}, {problem}")
    return is_well


def write_result(out: Path, result: ScenarioResult) -> None:
    """Write the run's JSON file and the report of all results into the folder; plots and their points go below it."""
    without_curves = [msgspec.structs.replace(case, curves=None) for case in result.cases]
    kept = msgspec.structs.replace(result, cases=without_curves)
    (out / f"{result.scenario}.json").write_bytes(_format_compactly(kept))
    (out / REPORT).write_text(format_report(read_results(out)))
    plots = out / PLOTS / result.scenario
    shutil.rmtree(plots, ignore_errors=True)  # the cases of an earlier run may have had other names
    plots.mkdir(parents=True)
    for name, plot in draw_plots(result).items():
        (plots / name).write_text(plot)
    curves = {case.name: case.curves for case in result.cases}
    (plots / "curves.json").write_bytes(msgspec.json.encode(curves) + b"\n")


def _format_compactly(result: ScenarioResult) -> bytes:
    """One line for each case: results can be compared with a line-by-line diff, and stay small."""
    cases = b",\n".join(msgspec.json.encode(case) for case in result.cases)
    head = msgspec.to_builtins(result) | {"cases": []}
    return msgspec.json.encode(head).replace(b'"cases":[]', b'"cases":[\n' + cases + b"\n]", 1) + b"\n"


def read_results(out: Path) -> list[ScenarioResult]:
    """All results of a folder, by scenario. Raises `BenchError`."""
    return [_read_result(path) for path in sorted(out.glob("*.json"))]


def _read_result(path: Path) -> ScenarioResult:
    try:
        return msgspec.json.decode(path.read_bytes(), type=ScenarioResult)
    except msgspec.DecodeError as error:
        raise BenchError(f"{path} is no result of this version ({error}): move it elsewhere") from error


async def _run_scenario(session: Session, scenario: Scenario, screen: BenchScreen) -> ScenarioResult:
    machine, commit = describe_machine(), find_commit()
    done: dict[str, CaseResult] = {}
    failures: list[str] = []
    for case in scenario.cases:
        screen.begin(f"{scenario.name}, {case.name}: starting ...")
        try:
            async with _provide(session.installation, case) as installation:
                watching = Watching(
                    on_step=lambda text: screen.step(f"{scenario.name}, {text}"), on_sample=screen.show_sample
                )
                if case.direct is not None:
                    is_ours = session.installation is None
                    done[case.name] = await run_direct_case(installation, case, watching, is_ours=is_ours)
                    continue
                done[case.name] = await run_case(
                    installation,
                    case,
                    payloads=choose_payloads(case, session.payload_file),
                    rate_of=lambda name: _find_rate(done, name),
                    conditions=session.conditions,
                    watching=watching,
                )
        except BenchError as error:
            failures.append(f"{case.name}: {error}")
    return ScenarioResult(
        scenario=scenario.name,
        about=scenario.about,
        command_line=session.command_line,
        commit=commit,
        machine=machine,
        settings=dict(session.settings),
        cases=list(done.values()),
        failures=failures,
    )


@asynccontextmanager
async def _provide(given: Installation | None, case: Case) -> AsyncIterator[Installation]:
    if given is None:
        async with run_installation(case.counts) as installation:
            yield installation
        return
    for kind in PROCESS_KINDS:
        asked, running = case.counts.get(kind, 1), len(given.pids.get(kind, ()))
        if running and asked != running and kind in case.counts:
            raise BenchError(f"{case.name} needs {asked} {kind} processes, and {running} run")
    yield given


def choose_payloads(case: Case, file: Path | None) -> Payloads:
    """The payloads of a case's events."""
    if case.payload_bytes is not None:
        source = f"generated payloads of {case.payload_bytes:,} bytes"
        size_bytes = case.payload_bytes
        return Payloads(payloads=[generate_payload(size_bytes, seed=seed) for seed in range(VARIETY)], source=source)
    if file is None:
        return Payloads(payloads=generate_payloads(), source="generated payloads with the sizes of real webhooks")
    try:
        payloads = read_payloads(file)
    except (OSError, msgspec.DecodeError) as error:
        raise BenchError(f"cannot read payloads from {file}: {error}") from error
    return Payloads(payloads=payloads, source=f"{len(payloads)} real payloads ({file.name})")


def _find_rate(done: Mapping[str, CaseResult], name: str) -> float:
    if name not in done:
        raise BenchError(f"the case {name!r} has to run before")
    return sum(figures.accepted_per_s for phase in done[name].phases for figures in phase.groups.values())
