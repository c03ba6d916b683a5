"""The time of a phase, by which journals and samples are sorted into phases."""

from dataclasses import dataclass

from bench.cases.scenario import Phase


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseTime:
    """The time of a phase, in microseconds since the epoch."""

    phase: Phase
    start_us: int
    end_us: int

    def holds(self, at_us: int) -> bool:
        return self.start_us <= at_us < self.end_us
