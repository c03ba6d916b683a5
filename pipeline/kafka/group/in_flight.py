"""How much a consumer has taken and not released, and when it must stop taking. No client and no clock in here."""

from collections.abc import Container, Sequence
from dataclasses import dataclass

from pipeline.kafka.record import LogRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of records that are read and not released, and of one step of reading."""

    batch_max_records: int
    in_flight_max_records: int
    in_flight_max_bytes: int


# Full lanes hold at most three quarters (see `core.budget`): reading goes on whatever they do.
RESUME_SHARE = 7 / 8
# Records of companions (retries) stop at this share: they can be read far more quickly than parked again, and beside
# 150,000 that came back at once new ones were not read for a second.
COMPANIONS_SHARE = 1 / 2


class InFlight:
    """Counts what is in flight. Each counter has one thread (`take`: consumer, `release`: loop): no lock is needed."""

    __slots__ = (
        "_companions",
        "_limits",
        "_released_bytes",
        "_released_companions",
        "_released_companions_bytes",
        "_released_records",
        "_taken_bytes",
        "_taken_companions",
        "_taken_companions_bytes",
        "_taken_records",
        "full_since_s",
        "is_full",
    )

    def __init__(self, limits: Limits, companions: Container[str] = ()) -> None:
        """`companions`: the topics whose records leave room for those of others."""
        self._limits = limits
        self._companions = companions
        self._taken_records = self._taken_bytes = 0
        self._released_records = self._released_bytes = 0
        self._taken_companions = self._taken_companions_bytes = 0
        self._released_companions = self._released_companions_bytes = 0
        self.is_full = False
        self.full_since_s: float | None = None

    @property
    def records(self) -> int:
        """Records taken and not released."""
        return self._taken_records - self._released_records

    @property
    def size_bytes(self) -> int:
        """Bytes of records taken and not released."""
        return self._taken_bytes - self._released_bytes

    @property
    def bytes_max(self) -> int:
        """Bytes that may be taken and not released."""
        return self._limits.in_flight_max_bytes

    @property
    def batch_max_records(self) -> int:
        """How many may be taken in one step: fewer when records are so large that a batch would go far beyond."""
        if not self._taken_records:
            return self._limits.batch_max_records
        mean_bytes = max(1, self._taken_bytes // self._taken_records)
        fitting = max(0, self._limits.in_flight_max_bytes - self.size_bytes) // mean_bytes
        return max(1, min(self._limits.batch_max_records, fitting))

    @property
    def has_many_companions(self) -> bool:
        """Must no more records of companions be taken for now?"""
        limits, records = self._limits, self._taken_companions - self._released_companions
        size_bytes = self._taken_companions_bytes - self._released_companions_bytes
        return (
            records >= limits.in_flight_max_records * COMPANIONS_SHARE
            or size_bytes >= limits.in_flight_max_bytes * COMPANIONS_SHARE
        )

    def take(self, records: Sequence[LogRecord]) -> None:
        """Count records that were read."""
        for record in records:
            size_bytes = len(record.value or b"")
            self._taken_records += 1
            self._taken_bytes += size_bytes
            if record.topic in self._companions:
                self._taken_companions += 1
                self._taken_companions_bytes += size_bytes

    def release(self, record: LogRecord) -> None:
        """Count a record that is settled or dropped."""
        size_bytes = len(record.value or b"")
        self._released_records += 1
        self._released_bytes += size_bytes
        if record.topic in self._companions:
            self._released_companions += 1
            self._released_companions_bytes += size_bytes

    def has_turned(self, now_s: float) -> bool:
        """Look at the bounds; True when `is_full` has changed. Some room lies between, so that it does not flap."""
        limits, records, size_bytes = self._limits, self.records, self.size_bytes
        if self.is_full:
            turned = (
                records <= limits.in_flight_max_records * RESUME_SHARE
                and size_bytes <= limits.in_flight_max_bytes * RESUME_SHARE
            )
        else:
            turned = records >= limits.in_flight_max_records or size_bytes >= limits.in_flight_max_bytes
        if turned:
            self.is_full = not self.is_full
            self.full_since_s = now_s if self.is_full else None
        return turned
