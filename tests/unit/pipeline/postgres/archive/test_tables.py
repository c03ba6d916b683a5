from datetime import UTC, date, datetime

from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.units import DAY_US
from pipeline.postgres.archive.tables import EVENTS, TABLES, day_of, today


def test_day_is_the_utc_date_of_the_append_time() -> None:
    """A microsecond before midnight UTC belongs to the old day, midnight to the new one."""
    midnight_us = int(datetime(2026, 11, 24, tzinfo=UTC).timestamp()) * 1_000_000

    assert date(2026, 11, 23) == day_of(midnight_us - 1)
    assert date(2026, 11, 24) == day_of(midnight_us)


@given(st.integers(-(2**63), 2**63 - 1))
def test_every_time_has_a_day(at_us: int) -> None:
    """No value a record can carry stops the archive, and the same value always leads to the same day."""
    assert date(1970, 1, 1) <= day_of(at_us) < date.max
    assert day_of(at_us) == day_of(at_us)


@given(st.integers(0, 4_000_000_000_000_000))
def test_today_and_the_day_of_a_row_agree(at_us: int) -> None:
    """The partition made for today is the one rows of today go to."""
    assert today(at_us) == day_of(at_us)


def test_partitions_are_named_after_their_day() -> None:
    """The name tells table and day, so that retention needs no catalogue of its own."""
    assert EVENTS.partition_of(date(2026, 1, 2)) == "events_20260102"
    assert EVENTS.default_partition == "events_default"


def test_every_table_has_its_day_first_and_its_key_among_its_columns() -> None:
    """The parts from which the writer builds its statements are whole."""
    for table in TABLES:
        assert table.columns[0] == "day"
        assert set(table.key) <= set(table.columns)
        assert DAY_US == 86_400_000_000
