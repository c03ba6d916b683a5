"""`hookline bench`: how fast it is, here."""

import asyncio
import os
import shlex
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.commands.finite import FiniteRange
from pipeline.commands.installation.options import choice_options, read_choice

if TYPE_CHECKING:
    from bench.cases.scenario import Scenario
    from bench.staging.installation import Installation
    from pipeline.commands.installation.finding import Choice

COUNT = click.IntRange(1, 32)
EXIT_INTERRUPTED = 130


class BenchCommand(click.Command):
    """Measures, unless its first argument is `compare`: then it is that command."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        if args[:1] == ["compare"]:
            from bench.compare_command import compare

            return compare.make_context(f"{info_name} compare", args[1:], parent=parent, **extra)
        return super().make_context(info_name, args, parent=parent, **extra)


@click.command(cls=BenchCommand)
@click.argument("names", nargs=-1, metavar="[SCENARIO]...")
@click.option("--list", "lists", is_flag=True, help="List the scenarios, and do nothing.")
@click.option("--all", "takes_all", is_flag=True, help="Run all of them but the soak.")
@click.option(
    "--case", "case_names", multiple=True, metavar="CASE", help="Only this case of the scenarios; repeatable."
)
@click.option("--duration", type=FiniteRange(1), metavar="SECONDS", help="How long to measure, per case.")
@click.option(
    "--warm-up", type=FiniteRange(0), metavar="SECONDS", help="Load before that, not measured.  [default: 30]"
)
@click.option("--rate", type=FiniteRange(0.1), metavar="N", help="Events a second, for cases that have a rate.")
@click.option("--payload-bytes", type=click.IntRange(100, 600_000), metavar="N", help="Size of the payloads.")
@click.option(
    "--payloads",
    "payload_file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Real payloads: a file of JSON lines, each with a member `payload`; for scenarios with real payloads.",
)
@click.option("--real", "is_real", is_flag=True, help="Real payloads (or their like) in every scenario.")
@click.option("--archive-rows", type=click.IntRange(0), metavar="N", help="Rows in the archive, for full-archive.")
@click.option("--burst", type=click.IntRange(1), metavar="N", help="Events of a backlog, where a case makes one.")
@click.option("--no-event-ids", is_flag=True, help="Send events without ids; by default clients make them, as Hook0's.")
@click.option(
    "--give-up-after",
    type=FiniteRange(1),
    default=90.0,
    show_default=True,
    metavar="SECONDS",
    help="When nothing more arrives for so long, missing deliveries count as lost; parked ones wait for a minute.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("bench-results"),
    show_default=True,
    help="Folder of the results; its report covers all results in it.",
)
@click.option("--gateway", type=COUNT, metavar="N", help="How many gateways to start.")
@click.option("--matcher", type=COUNT, metavar="N", help="How many matchers to start.")
@click.option("--deliver", type=COUNT, metavar="N", help="How many deliver processes to start.")
@click.option("--archive", type=COUNT, metavar="N", help="How many archive processes to start.")
@choice_options("Measure")
@click.option(
    "--api", "apis", multiple=True, metavar="URL", help="Measure the installation with this API (/api/v1); repeatable."
)
@click.option("--master-key", metavar="UUID", help="Master key of that installation; needed with --api.")
@click.option("--kafka", metavar="SERVERS", help="Kafka of that installation, for scenarios that write to it.")
@click.option("--database-url", metavar="URL", help="PostgreSQL of that installation, to verify the archive.")
@click.option(
    "--metrics", "metrics", multiple=True, metavar="NAME=URL", help="Address of the /metrics of a process; repeatable."
)
@click.option("--pid", "pids", multiple=True, metavar="NAME=PID", help="A process on this machine; repeatable.")
@click.option(
    "--receiver-host",
    default="127.0.0.1",
    show_default=True,
    help="Address on which the receiver listens, and the installation reaches it.",
)
def bench(
    names: tuple[str, ...],
    lists: bool,
    takes_all: bool,
    case_names: tuple[str, ...],
    duration: float | None,
    warm_up: float | None,
    rate: float | None,
    payload_bytes: int | None,
    payload_file: Path | None,
    is_real: bool,
    archive_rows: int | None,
    burst: int | None,
    no_event_ids: bool,
    give_up_after: float,
    out: Path,
    gateway: int | None,
    matcher: int | None,
    deliver: int | None,
    archive: int | None,
    profile: str | None,
    data_dir: Path | None,
    apis: tuple[str, ...],
    master_key: str | None,
    kafka: str | None,
    database_url: str | None,
    metrics: tuple[str, ...],
    pids: tuple[str, ...],
    receiver_host: str,
) -> None:
    """Measure throughput, latency, processor time and memory under a known load, and verify that nothing is lost.

    Starts a new `hookline up` for each case, in a temporary directory, unless --profile, --data-dir or --api names one
    that runs; none is found by itself, since measuring fills it with events. A load generator and a receiver run
    beside it, as processes. Open-loop load has a fixed schedule, and latencies count from the moment an event was to be
    sent. What was accepted must have been delivered and archived in the end: if it was not, or the run itself failed,
    the exit code is 1; being slow is no error.

    Results are a JSON file a scenario, plots (SVG), and report.md over all of them. `hookline bench compare` tells
    whether one folder of them is better or worse than another.

    \b
    Example:
      hookline bench --list
      hookline bench end-to-end --rate 200 --duration 20
      hookline bench saturation --deliver 2 --out results
      hookline bench ingest --api https://staging.example/api/v1 --master-key UUID --receiver-host 192.0.2.7
      hookline bench compare before after
    """
    # before anything else is imported: --help stays quick
    from bench.cases.scenario import Wishes, adapt
    from bench.errors import BenchError
    from bench.reports.screen import BenchScreen
    from bench.session import Session, run_session
    from bench.staging.stage import Conditions
    from pipeline.config import load_settings

    if lists:
        _list_scenarios()
        return
    chosen = _choose_cases(_choose(names, takes_all=takes_all), case_names)
    counts = {"gateway": gateway, "matcher": matcher, "deliver": deliver, "archive": archive}
    wishes = Wishes(
        rate_per_s=rate,
        duration_s=duration,
        warm_up_s=warm_up,
        payload_bytes=payload_bytes,
        real_payloads=is_real,
        archive_rows=archive_rows,
        burst_events=burst,
        counts={name: count for name, count in counts.items() if count is not None},
    )
    with BenchScreen() as screen:
        try:
            installation = _find(read_choice(profile, data_dir), apis, master_key, kafka, database_url, metrics, pids)
            session = Session(
                scenarios=[adapt(scenario, wishes) for scenario in chosen],
                out=out,
                command_line=shlex.join(["hookline", *sys.argv[1:]]),
                settings=_list_settings(),
                installation=installation,
                payload_file=payload_file,
                conditions=Conditions(
                    receiver_host=receiver_host,
                    has_event_ids=not no_event_ids,
                    kafka=load_settings(os.environ).kafka,
                    is_to_be_left_clean=installation is not None,
                    give_up_after_s=give_up_after,
                ),
            )
            is_well = asyncio.run(_run_until_signalled(run_session(session, screen)))
        except BenchError as error:
            raise click.ClickException(str(error)) from error
        except asyncio.CancelledError:
            sys.exit(EXIT_INTERRUPTED)
    sys.exit(0 if is_well else 1)


def _list_scenarios() -> None:
    from bench.cases.catalogue import BY_NAME, SCENARIOS

    width = max(map(len, BY_NAME))
    for scenario in SCENARIOS:
        click.echo(f"{scenario.name:<{width}}  {scenario.about}")
        click.echo(f"{'':<{width}}  cases: {'; '.join(case.name for case in scenario.cases)}")


def _choose(names: tuple[str, ...], *, takes_all: bool) -> "list[Scenario]":
    from bench.cases.catalogue import BY_NAME, LONG, SCENARIOS

    unknown = [name for name in names if name not in BY_NAME]
    if unknown:
        raise click.UsageError(f"there is no scenario {unknown[0]!r}; --list shows them")
    if takes_all == bool(names):
        raise click.UsageError("name scenarios, or say --all; --list shows them")
    return [BY_NAME[name] for name in names] or [scenario for scenario in SCENARIOS if scenario.name not in LONG]


def _choose_cases(scenarios: "list[Scenario]", names: tuple[str, ...]) -> "list[Scenario]":
    from dataclasses import replace

    known = {case.name for scenario in scenarios for case in scenario.cases}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise click.UsageError(f"there is no case {unknown[0]!r}; there are {', '.join(sorted(known))}")
    if not names:
        return scenarios
    chosen = [
        replace(scenario, cases=tuple(case for case in scenario.cases if case.name in names)) for scenario in scenarios
    ]
    return [scenario for scenario in chosen if scenario.cases]


def _find(
    choice: "Choice",
    apis: tuple[str, ...],
    master_key: str | None,
    kafka: str | None,
    database_url: str | None,
    metrics: tuple[str, ...],
    pids: tuple[str, ...],
) -> "Installation | None":
    """The installation that runs already; None: the benchmark must start one."""
    from bench.staging.installation import Installation, find_installation

    if choice.is_made:
        from bench.errors import BenchError
        from pipeline.commands.installation.finding import find_chosen
        from pipeline.start_error import StartError

        try:
            return find_installation(find_chosen(choice, os.environ).running.root)
        except StartError as error:
            raise BenchError(str(error)) from error
    if not apis:
        return None
    if master_key is None:
        raise click.UsageError("--api needs --master-key")
    return Installation(
        api=apis[0].rstrip("/"),
        apis=tuple(api.rstrip("/") for api in apis),
        master_api_key=master_key,
        kafka=kafka or "",
        database_url=database_url or "",
        metrics=dict(_split(pair, "--metrics") for pair in metrics),
        pids=_read_pids(pids),
    )


async def _run_until_signalled(work: Coroutine[Any, Any, bool]) -> bool:
    """Children are stopped in order, also when a signal ends this process."""
    running = asyncio.ensure_future(work)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, running.cancel)
    return await running


def _read_pids(pairs: tuple[str, ...]) -> dict[str, list[int]]:
    pids: dict[str, list[int]] = {}
    for pair in pairs:
        name, pid = _split(pair, "--pid")
        if not pid.isdecimal():
            raise click.BadParameter(f"{pid!r} is no process id", param_hint="--pid")
        pids.setdefault(name, []).append(int(pid))
    return pids


def _split(pair: str, option: str) -> tuple[str, str]:
    name, separator, value = pair.partition("=")
    if not separator:
        raise click.BadParameter(f"{pair!r} is not NAME=VALUE", param_hint=option)
    return name, value


def _list_settings() -> dict[str, str]:
    """The settings that the environment makes, without secrets."""
    from pipeline.config import load_settings
    from pipeline.setting_rows import list_rows

    rows = list_rows(load_settings(os.environ), frozenset(os.environ))
    return {row.variable: row.value or "" for row in rows if row.is_given}
