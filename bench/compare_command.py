"""`hookline bench compare`: better, worse, or noise?"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.commands.finite import FiniteRange
from pipeline.start_error import StartError

if TYPE_CHECKING:
    from bench.evaluation.comparison import Change, Comparison
    from bench.evaluation.result import ScenarioResult

EXIT_WORSE = 1
EXIT_NOTHING = 2
PLACE = click.Path(path_type=Path, exists=True)


@click.command()
@click.argument("before", type=PLACE)
@click.argument("after", type=PLACE)
@click.option(
    "--pair", "pairs", nargs=2, type=PLACE, multiple=True, metavar="BEFORE AFTER", help="One more pair; repeatable."
)
@click.option("--floor", type=FiniteRange(0), default=1.0, show_default=True, help="Factor on what counts as noise.")
@click.option("--show-noise", is_flag=True, help="Also figures that have not changed.")
def compare(before: Path, after: Path, pairs: tuple[tuple[Path, Path], ...], floor: float, show_noise: bool) -> None:
    """Say which figures of AFTER are better or worse than those of BEFORE: folders of results, or files.

    A change must be beyond the noise of its kind (rates and processor time 10 %, medians 20 %, p99 35 %, memory 15 %),
    must stay so when the speed of the machine is taken out, and must be so in every pair. Make pairs one run right
    after the other, and more than one of them where it matters.

    \b
    Exit codes:
      0  nothing is worse
      1  something is
      2  there is nothing to compare, or a run has problems

    \b
    Example:
      hookline bench saturation --out before
      hookline bench saturation --out after
      hookline bench compare before after
      hookline bench compare b1 a1 --pair b2 a2 --pair b3 a3
    """
    from bench.evaluation.comparison import compare as compare_runs

    runs = [(_read(one), _read(other)) for one, other in ((before, after), *pairs)]
    found = compare_runs(runs, floor=floor)
    for change in found.changes:
        if show_noise or change.verdict != "noise":
            click.echo(_describe(change))
    for name in found.only:
        click.echo(f"not in all runs: {name}")
    for warning in found.warnings:
        click.echo(f"not to be believed: {warning}", err=True)
    click.echo(_sum_up(found))
    sys.exit(_find_exit_code(found))


def _read(place: Path) -> "list[ScenarioResult]":
    import msgspec

    from bench.evaluation.result import ScenarioResult

    files = sorted(place.glob("*.json")) if place.is_dir() else [place]
    results = []
    for file in files:
        try:
            results.append(msgspec.json.decode(file.read_bytes(), type=ScenarioResult))
        except msgspec.DecodeError as error:
            # 1 would say that something is worse
            raise StartError(f"{file} is no result of `hookline bench`: {error}") from error
    return results


def _describe(change: "Change") -> str:
    scenario, case, phase, figure = change.key
    values = "; ".join(f"{before:g} -> {after:g}" for before, after in change.pairs)
    return (
        f"{change.verdict:<6}  {scenario} / {case} / {phase}  {figure}: {values} {change.kind.unit}".rstrip()
        + f"  ({change.ratio:.2f} times)"
    )


def _sum_up(found: "Comparison") -> str:
    if not found.changes:
        return "nothing to compare: the runs have no case in common"
    return (
        f"{len(found.changes)} figures: {found.count('better')} better, {found.count('worse')} worse, "
        f"{found.count('noise')} noise"
    )


def _find_exit_code(found: "Comparison") -> int:
    if not found.changes or found.warnings:
        return EXIT_NOTHING
    return EXIT_WORSE if found.count("worse") else 0
