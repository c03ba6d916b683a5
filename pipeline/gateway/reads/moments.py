"""Moments as the API shows and takes them: RFC 3339, UTC, microseconds."""

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NAIVE_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - UTC; written three times as fast without a zone
FIRST_US = 0
LAST_US = 253_402_300_799_999_999  # the end of the year 9999
ONE_US = timedelta(microseconds=1)


def show_moment(at_us: int) -> str:
    """`2026-11-24T06:07:40.123456Z`. A time no calendar has becomes the nearest there is."""
    at = NAIVE_EPOCH + timedelta(microseconds=min(max(at_us, FIRST_US), LAST_US))
    return at.isoformat(timespec="microseconds") + "Z"


def show_moment_or_none(at_us: int | None) -> str | None:
    """The same, for what may not have happened."""
    return None if at_us is None else show_moment(at_us)


def show_datetime(at: datetime) -> str:
    """The same for an aware `datetime`."""
    return show_moment((at - EPOCH) // ONE_US)


def read_moment(text: str) -> int:
    """Microseconds since the epoch. Raises `ValueError` unless `text` is RFC 3339 with a time zone."""
    # a `+` that was not escaped in a query string arrives as a space
    at = datetime.fromisoformat(text.replace(" ", "+"))
    if at.tzinfo is None:
        raise ValueError("it has no time zone")
    return (at - EPOCH) // ONE_US
