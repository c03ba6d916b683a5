"""The progress of a benchmark for a person: on a terminal one line that moves, elsewhere a line now and then."""

import time
from types import TracebackType

from rich.console import Console
from rich.status import Status
from rich.text import Text

from bench.sampling.sampler import Sample
from pipeline.core.capacity import SERVICES
from pipeline.core.process_kinds import PROCESS_KINDS

LINE_INTERVAL_S = 5.0
REFRESHES_PER_S = 2  # the machine has better things to do
PROCESSES = (*PROCESS_KINDS, *SERVICES, "generator", "receiver")


class BenchScreen:
    """A context manager."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._status: Status | None = None
        self._step = ""
        self._before: Sample | None = None
        self._shown_s = 0.0

    def __enter__(self) -> "BenchScreen":
        if self._console.is_terminal:
            self._status = self._console.status("", refresh_per_second=REFRESHES_PER_S)
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._status is not None:
            self._status.stop()

    def begin(self, text: str) -> None:
        """Begin another case; its figures are not compared with those of the case before."""
        self._before = None
        self.step(text)

    def step(self, text: str) -> None:
        """Show the present step."""
        self._step = text
        if self._status is not None:
            self._status.update(Text(text))
        else:
            self.say(text)

    def say(self, text: str) -> None:
        """Print a line that stays to be read."""
        self._console.print(Text(text), soft_wrap=True)

    def show_sample(self, sample: Sample) -> None:
        """How the load is doing."""
        before, self._before = self._before, sample
        if before is None or sample.at_us <= before.at_us or len(before.accepted) != len(sample.accepted):
            return
        line = f"{self._step}  {describe_sample(before, sample)}"
        if self._status is not None:
            self._status.update(Text(line))
        elif time.monotonic() - self._shown_s >= LINE_INTERVAL_S:
            self._shown_s = time.monotonic()
            self.say(line)


def describe_sample(before: Sample, sample: Sample) -> str:
    """Rates, lag, and who keeps the processors busy, since the sample before."""
    seconds = (sample.at_us - before.at_us) / 1_000_000
    accepted = (sum(sample.accepted) - sum(before.accepted)) / seconds
    received = (sum(sample.received) - sum(before.received)) / seconds
    cores = {
        name: (sample.cpu_s[name] - before.cpu_s.get(name, 0.0)) / seconds for name in PROCESSES if name in sample.cpu_s
    }
    busy = "  ".join(f"{name} {value * 100:.0f}%" for name, value in cores.items())
    lag = f"{sum(sample.lag.values()):,.0f}" if sample.lag else "?"
    return f"accepted {accepted:,.0f}/s  delivered {received:,.0f}/s  lag {lag}  {busy}"
