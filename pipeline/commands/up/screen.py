"""The output of `hookline up`: progress and incidents on standard error, results on standard output."""

import sys
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.text import Text

HELD_MAX = 100
SHOWN_PER_SECOND = 20


class LineLimit:
    """`show` takes a line, `clock` says the seconds."""

    __slots__ = ("_clock", "_left_out", "_second", "_show", "_shown")

    def __init__(self, show: Callable[[str], None], clock: Callable[[], float]) -> None:
        self._show = show
        self._clock = clock
        self._second = 0
        self._shown = 0
        self._left_out = 0

    def pass_on(self, line: str) -> None:
        """Show a line, or count it."""
        self.keep_time()
        if self._shown < SHOWN_PER_SECOND:
            self._shown += 1
            self._show(line)
        else:
            self._left_out += 1

    def keep_time(self) -> None:
        """Say how many lines of the last second were not shown. Called regularly, since no line may follow."""
        second = int(self._clock())
        if second != self._second:
            self.finish()
            self._second, self._shown = second, 0

    def finish(self) -> None:
        """Say at once how many were not shown, if any: no line will follow."""
        if self._left_out:
            self._show(f"... and {self._left_out:,} more within that second; all are in the log")
            self._left_out = 0


if TYPE_CHECKING:
    from rich.status import Status


class Screen:
    """A context manager. On a terminal the present step is one line that moves; elsewhere each step is a line.

    Without a reader (a closed terminal, `| head`) output is lost, and everything goes on.
    """

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._results = Console(highlight=False)
        self._status: Status | None = None
        self._held: deque[str] | None = deque(maxlen=HELD_MAX)

    def __enter__(self) -> "Screen":
        if self._console.is_terminal:
            self._status = self._console.status("starting ...")
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.end_steps()

    def step(self, line: str) -> None:
        """Show the present step. May be called from any thread."""
        if self._status is not None:
            self._status.update(Text(line))
        else:
            self.say(line)

    def end_steps(self) -> None:
        """End the line of steps: everything runs."""
        if self._status is not None:
            self._status.stop()
            self._status = None

    def say(self, line: str) -> None:
        """Print a line that stays to be read."""
        with suppress(OSError):
            if self._console.is_terminal:
                self._console.print(Text(line), soft_wrap=True)
            else:
                click.echo(line, err=True)

    def show_banner(self, text: Text) -> None:
        """The result for a person, on standard output; colours only on a terminal."""
        self.end_steps()
        with suppress(OSError):
            if self._results.is_terminal:
                self._results.print(text, soft_wrap=True)
            else:
                click.echo(text.plain)
        held, self._held = self._held, None
        for line in held or ():
            self.show_delivery(line)

    def show_delivery(self, line: str) -> None:
        """Show a delivery to the demo's receiver; early ones are held until the banner is there."""
        if self._held is not None:
            self._held.append(line)
        else:
            with suppress(OSError):
                click.echo(line)

    def report(self, line: str) -> None:
        """The one line for programs."""
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
