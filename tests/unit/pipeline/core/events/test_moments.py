"""Moments: RFC 3339 by the cases of JSON-Schema-Test-Suite, and no microsecond lost."""

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.events.moments import (
    FIRST_US,
    LAST_US,
    Moment,
    decode_moment,
    parse_moment,
    parse_query_moment,
    show_datetime,
    show_moment,
    show_moment_or_none,
)
from tests.unit.contracts.repository import ROOT

CASES: list[dict[str, Any]] = [
    case
    for group in json.loads((ROOT / "tests/support/conformance/date-time.json").read_text())
    for case in group["tests"]
    if isinstance(case["data"], str)
]


def test_moments_are_shown_in_utc_with_microseconds() -> None:
    """Clients compare the text, so it has always the same form."""
    assert show_moment(0) == "1970-01-01T00:00:00.000000Z"
    assert show_moment(1_795_500_460_123_456) == "2026-11-24T06:07:40.123456Z"
    assert show_moment_or_none(None) is None


@given(st.integers(FIRST_US, LAST_US))
def test_what_is_shown_reads_back_the_same(at_us: int) -> None:
    """No microsecond is lost between a page's cursor and the next page."""
    assert at_us == parse_moment(show_moment(at_us))


@given(st.integers(-(2**63), 2**63 - 1))
def test_every_number_can_be_shown(at_us: int) -> None:
    """A producer's absurd clock does not make its event unreadable."""
    assert show_moment(at_us).endswith("Z")


@pytest.mark.parametrize("text", ["2026-11-24T07:07:40+01:00", "2026-11-24T07:07:40 01:00", "2026-11-24T06:07:40Z"])
def test_offsets_are_understood(text: str) -> None:
    """A plus sign may have arrived unescaped."""
    assert parse_query_moment(text) == 1_795_500_460_000_000


@pytest.mark.parametrize("text", ["", "yesterday", "2026-11-24T06:07:40", "1795500460"])
def test_anything_else_is_refused(text: str) -> None:
    """A moment without a time zone could mean anything."""
    with pytest.raises(ValueError):  # noqa: PT011 - whichever reading stumbles over it; only the class is promised
        parse_query_moment(text)


@pytest.mark.parametrize("case", CASES, ids=[case["description"] for case in CASES])
def test_what_rfc_3339_allows(case: dict[str, Any]) -> None:
    """RFC 3339's §5.6 and §5.7, by cases of others: leap seconds where they can be, either case of T and Z, nothing
    else.
    """
    try:
        parse_moment(case["data"])
    except ValueError:
        is_valid = False
    else:
        is_valid = True

    assert case["valid"] == is_valid


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("1998-12-31T23:59:60Z", "1999-01-01T00:00:00.000000Z"),
        ("1998-12-31T15:59:60.25-08:00", "1999-01-01T00:00:00.250000Z"),
        ("1969-12-31T23:59:59.999999Z", "1969-12-31T23:59:59.999999Z"),
        ("1900-01-01T00:00:00Z", "1900-01-01T00:00:00.000000Z"),
        ("0000-02-29T12:00:00Z", "0000-02-29T12:00:00.000000Z"),
        ("0001-01-01T00:00:00+01:00", "0000-12-31T23:00:00.000000Z"),
        ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
        ("8999-07-06T05:04:03.000001Z", "8999-07-06T05:04:03.000001Z"),
        ("2026-01-02T03:04:05.1234567Z", "2026-01-02T03:04:05.123456Z"),
        ("2026-01-02T03:04:05-00:00", "2026-01-02T03:04:05.000000Z"),
    ],
)
def test_what_comes_in_is_shown(text: str, shown: str) -> None:
    """Times before 1970, far dates to the microsecond, and leap seconds as the second after are shown."""
    assert shown == show_moment(parse_moment(text))


@given(st.datetimes(timezones=st.just(UTC)))
def test_it_agrees_with_python(at: datetime) -> None:
    """Both agree wherever Python has the date as well."""
    assert at.isoformat(timespec="microseconds").replace("+00:00", "Z") == show_datetime(at)
    assert parse_moment(at.isoformat()) == parse_moment(show_datetime(at))


def test_a_form_has_a_moment() -> None:
    """A member of a JSON body is a moment, or a problem of the form."""
    decoder = msgspec.json.Decoder(Moment, dec_hook=decode_moment)

    assert Moment(1) == decoder.decode(b'"1970-01-01T00:00:00.000001Z"')
    for wrong in (b'"yesterday"', b"7", b"null"):
        with pytest.raises(msgspec.ValidationError):
            decoder.decode(wrong)
