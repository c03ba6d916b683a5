"""Moments between text and microseconds since the epoch: RFC 3339 in and out, integers in between.

The text is the `date-time` of RFC 3339 §5.6, years 0000 to 9999, also with the blank that its note allows. A leap
second, which microseconds since the epoch do not have, becomes the second after it; digits beyond microseconds are cut
off. Python's own `datetime` has no year 0 and no second 60, and its timestamps are floats: far dates lose microseconds.
"""

import re
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache

from pipeline.core.units import DAY_US, MINUTE_US, SECOND_US

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EPOCH_DAY = date(1970, 1, 1).toordinal()
FIRST_US = -62_167_219_200_000_000  # the beginning of the year 0
LAST_US = 253_402_300_799_999_999  # the end of the year 9999
ONE_US = timedelta(microseconds=1)
MINUTES_A_DAY = 1440
FIRST_MINUTE, LAST_MINUTE = FIRST_US // MINUTE_US, LAST_US // MINUTE_US
LEADING_DIGIT_US = 100_000_000
# the calendar repeats itself after 400 years
CYCLE_YEARS, CYCLE_DAYS = 400, 146_097
LEAP_MINUTE_OF_DAY = 23 * 60 + 59

_match_date_time = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})[Tt ](\d{2}):(\d{2}):(\d{2})(?:\.(\d+))?(?:[Zz]|([+-])(\d{2}):(\d{2}))", re.ASCII
).fullmatch
_find_blank_offset = re.compile(r" (\d{2}:\d{2})$", re.ASCII).sub


class Moment(int):
    """Microseconds since the epoch, UTC: what a date-time in JSON becomes."""


def decode_moment(kind: type, value: object) -> object:
    """Decode a `Moment` for msgspec's decoders. Raises `ValueError`."""
    if kind is not Moment:
        raise NotImplementedError(kind)
    if not isinstance(value, str):
        raise ValueError(f"Expected `str`, got `{type(value).__name__}`")
    return Moment(parse_moment(value))


def parse_moment(text: str) -> int:
    """Microseconds since the epoch. Raises `ValueError` unless `text` is a date-time of RFC 3339."""
    match = _match_date_time(text)
    if match is None:
        raise ValueError("it is no date-time of RFC 3339, with a time zone: 2026-01-31T06:07:08.123456Z")
    year, month, day, hour, minute, second = map(int, match.group(1, 2, 3, 4, 5, 6))
    offset_min = 0
    if match[8] is not None:
        offset_hour, offset_minute = int(match[9]), int(match[10])
        _check(offset_hour <= 23 and offset_minute <= 59, "time zone")
        offset_min = (offset_hour * 60 + offset_minute) * (-1 if match[8] == "-" else 1)
    minutes = hour * 60 + minute - offset_min
    _check(hour <= 23 and minute <= 59, "time of day")
    _check(second <= 59 or (second == 60 and minutes % MINUTES_A_DAY == LEAP_MINUTE_OF_DAY), "second")
    _check(1 <= month <= 12 and day >= 1, "date")
    try:
        days = date(year + CYCLE_YEARS if year < 1 else year, month, day).toordinal() - EPOCH_DAY
    except ValueError:
        raise ValueError("it has a date that no calendar has") from None
    days -= CYCLE_DAYS if year < 1 else 0
    fraction_us = int((match[7] or "")[:6].ljust(6, "0"))
    return days * DAY_US + minutes * MINUTE_US + second * SECOND_US + fraction_us


def parse_query_moment(text: str) -> int:
    """Parse a moment from a query string, in which a `+` that was not escaped arrives as a blank."""
    return parse_moment(_find_blank_offset(r"+\1", text))


def show_moment(at_us: int) -> str:
    """`2026-11-24T06:07:40.123456Z`. A time beyond the years 0000 to 9999 becomes the nearest within."""
    minute = at_us // MINUTE_US
    if not FIRST_MINUTE <= minute <= LAST_MINUTE:
        return show_moment(min(max(at_us, FIRST_US), LAST_US))
    # the zeros in front stay, as another digit leads; formatting with a width takes longer
    digits = str(LEADING_DIGIT_US + at_us - minute * MINUTE_US)
    return f"{_show_minute(minute)}{digits[1:3]}.{digits[3:]}Z"


# A page of a list has hundreds of moments, of a few minutes: 0.6 us each, where splitting all of it took 1.5 us.
@lru_cache(maxsize=4096)
def _show_minute(minutes: int) -> str:
    """Format a minute, given as minutes since the epoch."""
    days, minute_of_day = divmod(minutes, MINUTES_A_DAY)
    hour, minute = divmod(minute_of_day, 60)
    return f"{_show_day(days)}T{hour:02}:{minute:02}:"


def _show_day(days: int) -> str:
    """Format a day, given as days since the epoch."""
    if days >= 1 - EPOCH_DAY:
        return date.fromordinal(days + EPOCH_DAY).isoformat()
    return "0000" + date.fromordinal(days + CYCLE_DAYS + EPOCH_DAY).isoformat()[4:]


def show_moment_or_none(at_us: int | None) -> str | None:
    """Show a moment; None stays None."""
    return None if at_us is None else show_moment(at_us)


def to_us(at: datetime) -> int:
    """Microseconds since the epoch of an aware `datetime`, to the last one."""
    return (at - EPOCH) // ONE_US


def show_datetime(at: datetime) -> str:
    """`show_moment` of an aware `datetime`."""
    return show_moment(to_us(at))


def _check(is_so: bool, what: str) -> None:
    if not is_so:
        raise ValueError(f"it has a {what} that does not exist")
