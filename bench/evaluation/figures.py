"""Many latencies become a few figures. Pure."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

import msgspec

from pipeline.core.units import SECOND_US

ROUNDING = 1e-9  # 0.7 of 10 is 7, whatever binary fractions make of it
CURVE = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 0.9995, 0.9999)


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds. `curve`: the quantiles of `CURVE`."""

    count: int
    mean: float
    p50: float
    p90: float
    p99: float
    p999: float
    most: float
    curve: list[float]


class Second(msgspec.Struct, frozen=True, kw_only=True):
    """The events due in one second of a run (`at_s`, from its start): how many, and their latency in ms."""

    at_s: int
    count: int
    p50: float
    p99: float


def summarize(latencies_us: Sequence[int]) -> Latency | None:
    """Summarize values; None if there are none."""
    if not latencies_us:
        return None
    ordered = sorted(latencies_us)

    def quantile(share: float) -> float:
        return _to_ms(pick(ordered, share))

    return Latency(
        count=len(ordered),
        mean=_to_ms(sum(ordered) / len(ordered)),
        p50=quantile(0.5),
        p90=quantile(0.9),
        p99=quantile(0.99),
        p999=quantile(0.999),
        most=_to_ms(ordered[-1]),
        curve=[quantile(share) for share in CURVE],
    )


def pick(ordered: Sequence[int], share: float) -> int:
    """The smallest value that this share of all does not exceed."""
    return ordered[max(0, math.ceil(share * len(ordered) - ROUNDING) - 1)]


def summarize_seconds(points: Iterable[tuple[int, int]], *, start_us: int) -> list[Second]:
    """Summarize pairs (time, latency), in microseconds, by second; seconds without pairs are left out."""
    seconds: dict[int, list[int]] = defaultdict(list)
    for at_us, latency_us in points:
        seconds[(at_us - start_us) // SECOND_US].append(latency_us)
    found = []
    for at_s, latencies_us in sorted(seconds.items()):
        latencies_us.sort()
        found.append(
            Second(
                at_s=at_s,
                count=len(latencies_us),
                p50=_to_ms(pick(latencies_us, 0.5)),
                p99=_to_ms(pick(latencies_us, 0.99)),
            )
        )
    return found


def _to_ms(value_us: float) -> float:
    return round(value_us / 1000, 3)
