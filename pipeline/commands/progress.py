"""The progress of long work, on standard error: a bar on a terminal, elsewhere a line every few seconds."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

LINE_INTERVAL_S = 5.0


@contextmanager
def show_progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Yields the function that takes how many more are done."""
    if not sys.stderr.isatty():
        yield _Lines(what, total).advance
        return
    # imported here: it costs more than all of `--help`
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda count: bar.advance(task, count)


class _Lines:
    """Progress for a log, which a bar would fill."""

    def __init__(self, what: str, total: int) -> None:
        self._what = what
        self._total = total
        self._done = 0
        self._shown_at_s = time.monotonic()

    def advance(self, count: int) -> None:
        """Count, and show a line if the last one is long ago."""
        self._done += count
        now_s = time.monotonic()
        if now_s - self._shown_at_s >= LINE_INTERVAL_S:
            self._shown_at_s = now_s
            click.echo(f"{self._what}: {self._done:,} of {self._total:,}", err=True)
