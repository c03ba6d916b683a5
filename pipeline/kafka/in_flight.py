"""How much a consumer has taken and not released, and when it must stop taking. No client and no clock in here."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.kafka.record import LogRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What may be read and not released, and how much is read in one step."""

    batch_max_records: int
    in_flight_max_records: int
    in_flight_max_bytes: int


class InFlight:
    """Counted up by one thread each (`take`: the consumer's, `release`: the loop's), so that no lock is needed."""

    __slots__ = ("_limits", "_released_bytes", "_released_records", "_taken_bytes", "_taken_records", "is_full")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._taken_records = self._taken_bytes = 0
        self._released_records = self._released_bytes = 0
        self.is_full = False

    @property
    def records(self) -> int:
        """Records taken and not released."""
        return self._taken_records - self._released_records

    @property
    def size_bytes(self) -> int:
        """Bytes of records taken and not released."""
        return self._taken_bytes - self._released_bytes

    def take(self, records: Sequence[LogRecord]) -> None:
        """Records were read."""
        self._taken_records += len(records)
        self._taken_bytes += sum(len(record.value or b"") for record in records)

    def release(self, records: int, size_bytes: int) -> None:
        """Records are settled, or dropped."""
        self._released_records += records
        self._released_bytes += size_bytes

    def has_turned(self) -> bool:
        """Look again; True when `is_full` has changed. Half lies between, so that it does not flap."""
        limits = self._limits
        if not self.is_full:
            turned = self.records >= limits.in_flight_max_records or self.size_bytes >= limits.in_flight_max_bytes
        else:
            turned = (
                self.records <= limits.in_flight_max_records // 2 and self.size_bytes <= limits.in_flight_max_bytes // 2
            )
        self.is_full ^= turned
        return turned
