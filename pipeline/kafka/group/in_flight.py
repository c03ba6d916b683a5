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
# Records of companions (retries) stop at this share: they are read far more quickly than they are parked again, and
# would leave no room for new ones.
COMPANIONS_SHARE = 1 / 2


class Count:
    """Records and bytes. Taken by the consumer's thread and released by the loop's: a lock is not needed."""

    __slots__ = ("_released_bytes", "_released_records", "_taken_bytes", "_taken_records")

    def __init__(self) -> None:
        self._taken_records = self._taken_bytes = 0
        self._released_records = self._released_bytes = 0

    @property
    def records(self) -> int:
        """Records taken and not released."""
        return self._taken_records - self._released_records

    @property
    def size_bytes(self) -> int:
        """Bytes of records taken and not released."""
        return self._taken_bytes - self._released_bytes

    @property
    def mean_bytes(self) -> int:
        """The mean size of all records that were ever taken; 0: none was."""
        return max(1, self._taken_bytes // self._taken_records) if self._taken_records else 0

    def take(self, size_bytes: int) -> None:
        """Count a record that was read."""
        self._taken_records += 1
        self._taken_bytes += size_bytes

    def release(self, size_bytes: int) -> None:
        """Count a record that is settled or dropped."""
        self._released_records += 1
        self._released_bytes += size_bytes

    def reaches(self, limits: Limits, share: float = 1.0) -> bool:
        """Are there as many, by records or by bytes, as this share of what may be in flight?"""
        return (
            self.records >= limits.in_flight_max_records * share
            or self.size_bytes >= limits.in_flight_max_bytes * share
        )


class InFlight:
    """Counts what is in flight, and of that the records of companions."""

    __slots__ = ("_all", "_companions", "_companions_count", "_limits", "full_since_s", "is_full")

    def __init__(self, limits: Limits, companions: Container[str] = ()) -> None:
        """`companions`: the topics whose records leave room for those of others."""
        self._limits = limits
        self._companions = companions
        self._all, self._companions_count = Count(), Count()
        self.is_full = False
        self.full_since_s: float | None = None

    @property
    def bytes_max(self) -> int:
        """Bytes that may be taken and not released."""
        return self._limits.in_flight_max_bytes

    @property
    def batch_max_records(self) -> int:
        """How many may be taken in one step: fewer when records are so large that a batch would go far beyond."""
        mean_bytes = self._all.mean_bytes
        if not mean_bytes:
            return self._limits.batch_max_records
        fitting = max(0, self._limits.in_flight_max_bytes - self._all.size_bytes) // mean_bytes
        return max(1, min(self._limits.batch_max_records, fitting))

    @property
    def has_many_companions(self) -> bool:
        """Must no more records of companions be taken for now?"""
        return self._companions_count.reaches(self._limits, COMPANIONS_SHARE)

    def take(self, records: Sequence[LogRecord]) -> None:
        """Count records that were read."""
        for record in records:
            for count in self._list_counts(record):
                count.take(len(record.value or b""))

    def release(self, record: LogRecord) -> None:
        """Count a record that is settled or dropped."""
        for count in self._list_counts(record):
            count.release(len(record.value or b""))

    def _list_counts(self, record: LogRecord) -> tuple[Count, ...]:
        return (self._all, self._companions_count) if record.topic in self._companions else (self._all,)

    def has_turned(self, now_s: float) -> bool:
        """Look at the bounds; True when `is_full` has changed. Some room lies between, so that it does not flap."""
        limits, count = self._limits, self._all
        if self.is_full:
            turned = (
                count.records <= limits.in_flight_max_records * RESUME_SHARE
                and count.size_bytes <= limits.in_flight_max_bytes * RESUME_SHARE
            )
        else:
            turned = count.reaches(limits)
        if turned:
            self.is_full = not self.is_full
            self.full_since_s = now_s if self.is_full else None
        return turned
