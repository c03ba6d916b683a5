"""Three clocks that must agree before history is taken away: the host's, PostgreSQL's, and the log's append time.

One clock that is wrong must not empty the archive. The log's is that of its newest archived record: it may lie behind
the others, because nothing comes in, but never before them.
"""

from dataclasses import dataclass

from pipeline.core.units import SECOND_US


@dataclass(frozen=True, slots=True, kw_only=True)
class Clocks:
    """Read at one moment. `log_us`: the broker's append time of the record archived last; None: there is none."""

    host_us: int
    postgres_us: int
    log_us: int | None

    @property
    def earliest_us(self) -> int:
        """The time that none of them has passed: what any clock would keep is kept."""
        return min(self.host_us, self.postgres_us, *(() if self.log_us is None else (self.log_us,)))

    def find_disagreement(self, tolerance_us: int) -> str | None:
        """The disagreement of the clocks, as a sentence; None: they agree."""
        if abs(self.host_us - self.postgres_us) > tolerance_us:
            return (
                f"this host's clock is {_describe(self.host_us - self.postgres_us)} PostgreSQL's; "
                "nothing is taken out of the archive until they agree"
            )
        if self.log_us is not None and self.log_us - self.host_us > tolerance_us:
            return (
                f"the log's append time is {_describe(self.log_us - self.host_us)} the clocks of this host and of "
                "PostgreSQL; nothing is taken out of the archive until they agree"
            )
        return None


def _describe(difference_us: int) -> str:
    seconds = abs(difference_us) / SECOND_US
    for unit, size in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            seconds, name = seconds / size, unit
            break
    else:
        name = "seconds"
    return f"{seconds:.1f} {name} {'ahead of' if difference_us > 0 else 'behind'}"
