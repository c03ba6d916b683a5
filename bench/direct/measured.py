"""One phase of a direct measurement, and what it came to."""

from dataclasses import dataclass

from bench.evaluation.result import ServerUse


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """`units`: requests or rows; `latencies_us`: of each request or transaction. Times are monotonic seconds."""

    name: str
    began_s: float
    seconds: float
    units: int
    latencies_us: list[int]
    failures: int = 0
    server: ServerUse | None = None
