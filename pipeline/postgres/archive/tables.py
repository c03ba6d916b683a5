"""The archive's tables as objects: columns in the order rows are written in, and what makes a row the same row.

The SQL of `sql/0002.archive.sql` says what the columns mean; a test compares the two. No query lives here.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from pipeline.core.units import DAY_US

EPOCH = date(1970, 1, 1)
LAST_DAY = (date.max - EPOCH).days - 1  # the partition of a day ends on the day after


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveTable:
    """One table. `key`: with `day`, the primary key."""

    name: str
    key: tuple[str, ...]
    columns: tuple[str, ...]

    @property
    def default_partition(self) -> str:
        return f"{self.name}_default"

    def partition_of(self, day: date) -> str:
        """Name of the partition that holds `day`."""
        return f"{self.name}_{day:%Y%m%d}"


EVENTS = ArchiveTable(
    name="events",
    key=("application_id", "event_id"),
    columns=(
        "day",
        "application_id",
        "event_id",
        "event_type",
        "payload",
        "payload_compressed",
        "payload_content_type",
        "labels",
        "metadata",
        "occurred_at_us",
        "received_at_us",
        "appended_at_us",
        "ip",
        "event_partition",
        "event_offset",
    ),
)
DISPATCHES = ArchiveTable(
    name="dispatches",
    key=("application_id", "event_id"),
    columns=(
        "day",
        "application_id",
        "event_id",
        "event_type",
        "event_partition",
        "event_offset",
        "appended_at_us",
        "received_at_us",
        "matched_at_us",
        "routes_version",
        "matches_count",
    ),
)
DELIVERIES = ArchiveTable(
    name="deliveries",
    key=("application_id", "event_id", "delivery_id"),
    columns=(
        "day",
        "application_id",
        "event_id",
        "delivery_id",
        "subscription_id",
        "event_type",
        "appended_at_us",
        "matched_at_us",
        "first_attempt_id",
    ),
)
ATTEMPTS = ArchiveTable(
    name="attempts",
    key=("application_id", "event_id", "delivery_id", "attempt_number"),
    columns=(
        "day",
        "application_id",
        "event_id",
        "delivery_id",
        "attempt_number",
        "attempt_id",
        "subscription_id",
        "event_type",
        "appended_at_us",
        "outcome",
        "error_class",
        "error_detail",
        "queued_at_us",
        "started_at_us",
        "finished_at_us",
        "request_method",
        "request_url",
        "request_headers",
        "response_status",
        "response_headers",
        "response_body",
        "response_compressed",
        "timings_us",
        "next_due_at_us",
        "next_attempt_id",
        "source_topic",
        "source_partition",
        "source_offset",
    ),
)
DEAD_LETTERS = ArchiveTable(
    name="dead_letters",
    key=("dead_id",),
    columns=(
        "day",
        "dead_id",
        "reason",
        "detail",
        "source_topic",
        "source_partition",
        "source_offset",
        "source_appended_at_us",
        "source_key",
        "source_value",
        "source_value_compressed",
        "application_id",
        "subscription_id",
        "delivery_id",
        "event_id",
        "died_at_us",
        "traceparent",
        "tracestate",
        "source_headers",
    ),
)
TABLES = (EVENTS, DISPATCHES, DELIVERIES, ATTEMPTS, DEAD_LETTERS)


def day_of(appended_at_us: int) -> date:
    """The day a row belongs to. Never fails: a time no calendar has becomes the nearest day there is."""
    return EPOCH + timedelta(days=min(max(appended_at_us // DAY_US, 0), LAST_DAY))


def today(now_us: int) -> date:
    """The current day in the archive's sense (UTC)."""
    return datetime.fromtimestamp(now_us / 1_000_000, tz=UTC).date()
