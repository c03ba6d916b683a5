from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.http.client.exchange import Answer, ErrorClass, Failure
from connectors.http.verdict import judge, read_retry_after

NOW_S = 1_795_500_460.0


def answer(status: int, *, retry_after: str | None = None, body_problem: str | None = None) -> Answer:
    headers = {} if retry_after is None else {"retry-after": retry_after}
    return Answer(status=status, headers=headers, body=b"", body_problem=body_problem)


@given(st.integers(100, 999))
def test_success_is_2xx_and_nothing_else(status: int) -> None:
    """Redirects are failures: they are not followed."""
    verdict = judge(answer(status), now_s=NOW_S)

    assert (200 <= status < 300) == (verdict.error_class is None)
    assert (verdict.error_class is None) == (verdict.detail is None)


def test_a_body_that_breaks_off_changes_nothing() -> None:
    """The endpoint has said what it did; that its body was not whole is noted all the same."""
    problem = "the connection was reset before the answer was complete"
    succeeded = judge(answer(204, body_problem=problem), now_s=NOW_S)
    failed = judge(answer(500, body_problem=problem), now_s=NOW_S)

    assert (None, problem) == (succeeded.error_class, succeeded.detail)
    assert (ErrorClass.HTTP, "the endpoint answered 500") == (failed.error_class, failed.detail)


@pytest.mark.parametrize(
    ("status", "is_overload", "is_fault"),
    [
        *[(status, False, False) for status in (301, 302, 307, 400, 401, 404, 408, 410, 422)],
        *[(status, True, True) for status in (429, 503)],
        *[(status, False, True) for status in (500, 502, 504)],
    ],
)
def test_what_a_status_says_of_the_endpoint(status: int, is_overload: bool, is_fault: bool) -> None:
    """The endpoint is not willing, too busy, or not able."""
    verdict = judge(answer(status), now_s=NOW_S)

    assert (is_overload, is_fault) == (verdict.is_overload, verdict.is_fault)
    assert status == verdict.status


@pytest.mark.parametrize(
    ("error_class", "is_overload", "is_fault"),
    [
        (ErrorClass.TIMEOUT, True, True),
        (ErrorClass.CONNECTION, True, True),
        (ErrorClass.DNS, False, True),
        (ErrorClass.INVALID_TARGET, False, False),
        (ErrorClass.INVALID_HEADER, False, False),
    ],
)
def test_what_a_failure_says_of_the_endpoint(error_class: ErrorClass, is_overload: bool, is_fault: bool) -> None:
    """A wrong URL or header is nothing that waiting would cure."""
    verdict = judge(Failure(error_class=error_class, detail="why"), now_s=NOW_S)

    assert (is_overload, is_fault) == (verdict.is_overload, verdict.is_fault)
    assert (error_class, "why") == (verdict.error_class, verdict.detail)


@pytest.mark.parametrize(
    ("text", "expected_s"),
    [
        ("0", 0),
        ("120", 120),
        (" 120 ", 120),
        ("315360000", 315_360_000),  # ten years: the retry decision has a bound
        ("9" * 400, 999_999_999_999),
        (format_datetime(datetime.fromtimestamp(NOW_S + 90, UTC), usegmt=True), 90),
        (format_datetime(datetime.fromtimestamp(NOW_S - 90, UTC), usegmt=True), 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", None),
    ],
)
def test_retry_after(text: str, expected_s: float | None) -> None:
    """Seconds, or a date; one that has passed means now."""
    seconds = read_retry_after({"retry-after": text}, NOW_S)

    if expected_s is None:
        assert seconds is not None
        assert seconds > 10 * 365 * 86_400
    else:
        assert expected_s == seconds


@pytest.mark.parametrize(
    "text", ["", "soon", "-5", "1.5", "1e9", "٥", "0x10", "Tue, 99 Foo 2026", "inf", "nan", "12 h"]
)
def test_retry_after_that_makes_no_sense(text: str) -> None:
    """A senseless value counts as absent."""
    assert read_retry_after({"retry-after": text}, NOW_S) is None


@given(st.text() | st.binary().map(lambda raw: raw.decode("latin-1")))
def test_no_retry_after_raises(text: str) -> None:
    """The result for any text is nothing, or a time that is not in the past."""
    seconds = read_retry_after({"retry-after": text}, NOW_S)

    assert seconds is None or seconds >= 0


@pytest.mark.parametrize("status", [200, 301, 404, 410, 500])
def test_only_an_overload_may_ask_for_time(status: int) -> None:
    """429 and 503."""
    assert judge(answer(status, retry_after="60"), now_s=NOW_S).retry_after_s is None
    assert 60 == judge(answer(429, retry_after="60"), now_s=NOW_S).retry_after_s
    assert 60 == judge(answer(503, retry_after="60"), now_s=NOW_S).retry_after_s
