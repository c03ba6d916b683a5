import itertools

from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.retries.retry import (
    DEFAULT_DELAYS_S,
    HOUR_S,
    JITTER_MAX_S,
    JITTER_MIN_S,
    NEVER_RETRIED,
    RETRY_AFTER_MAX_S,
    RETRY_AFTER_MIN_S,
    GiveUp,
    RetryAt,
    decide_retry,
)

NOW_US = 1_795_500_460_000_000
SCHEDULES = st.lists(st.floats(0, 7 * 24 * HOUR_S), max_size=30)
JITTERS = st.floats(0, 1)
ANY_WAIT_S = st.none() | st.floats(-1e9, 1e12)


def decide(
    number: int,
    delays_s: "list[float] | tuple[float, ...]" = DEFAULT_DELAYS_S,
    *,
    error_class: str = "E_HTTP",
    retry_after_s: float | None = None,
    jitter: float = 0.0,
) -> RetryAt | GiveUp:
    return decide_retry(
        attempt_number=number,
        error_class=error_class,
        failed_at_us=NOW_US,
        retry_after_s=retry_after_s,
        delays_s=delays_s,
        jitter=jitter,
    )


@given(SCHEDULES, JITTERS, ANY_WAIT_S)
def test_it_always_ends(delays_s: list[float], jitter: float, retry_after_s: float | None) -> None:
    """A delivery is attempted once more than its schedule has delays, whatever the endpoint says."""
    decisions = [
        decide(number, delays_s, jitter=jitter, retry_after_s=retry_after_s) for number in range(1, len(delays_s) + 3)
    ]

    assert [RetryAt] * len(delays_s) + [GiveUp] * 2 == [type(decision) for decision in decisions]


@given(SCHEDULES.filter(bool), st.data(), JITTERS)
def test_jitter_only_adds_and_is_bounded(delays_s: list[float], data: st.DataObject, jitter: float) -> None:
    """A retry is due no earlier than its delay, and at most a tenth later (2 s at least, 15 min at most)."""
    number = data.draw(st.integers(1, len(delays_s)))
    decision = decide(number, delays_s, jitter=jitter)
    delay_s = delays_s[number - 1]
    spread_s = min(max(delay_s / 10, JITTER_MIN_S), JITTER_MAX_S)

    assert isinstance(decision, RetryAt)
    waited_s = (decision.due_at_us - NOW_US) / 1_000_000
    assert delay_s - 1e-6 <= waited_s <= delay_s + spread_s + 1e-6


@given(ANY_WAIT_S.filter(lambda wait_s: wait_s is not None), JITTERS)
def test_retry_after_is_kept_in_bounds(retry_after_s: float, jitter: float) -> None:
    """An endpoint's wish is heard between a second and a day; it never brings a retry forward."""
    delay_s = 0.5
    decision = decide(1, [delay_s], retry_after_s=retry_after_s, jitter=jitter)

    assert isinstance(decision, RetryAt)
    waited_s = (decision.due_at_us - NOW_US) / 1_000_000
    assert waited_s >= max(delay_s, min(max(retry_after_s, RETRY_AFTER_MIN_S), RETRY_AFTER_MAX_S)) - 1e-6
    assert waited_s <= RETRY_AFTER_MAX_S + JITTER_MAX_S + 1e-6


def test_a_longer_delay_of_the_schedule_wins_over_retry_after() -> None:
    """`Retry-After: 1` does not make an endpoint that has failed for hours be asked every second."""
    assert decide(5, retry_after_s=1.0) == decide(5)


def test_the_default_schedule_takes_about_a_week() -> None:
    """25 attempts: after 3 s, 10 s, 3 min, 30 min, 1 h, 3 h, 5 h, and then every 10 h."""
    delays_s = []
    for number in itertools.count(1):
        decision = decide(number)
        if isinstance(decision, GiveUp):
            break
        delays_s.append((decision.due_at_us - NOW_US) / 1_000_000)

    assert [3, 10, 180, 1800, HOUR_S, 3 * HOUR_S, 5 * HOUR_S] == delays_s[:7]
    assert {10 * HOUR_S} == set(delays_s[7:])
    assert 24 == len(delays_s)
    assert 7 < sum(delays_s) / (24 * HOUR_S) < 8


def test_what_can_never_succeed_is_given_up_at_once() -> None:
    """A header that cannot be sent fails the same way every time; the reason says what to correct."""
    (error_class,) = NEVER_RETRIED
    decision = decide(1, error_class=error_class)

    assert isinstance(decision, GiveUp)
    assert "invalid_header" == decision.reason


def test_giving_up_says_how_often_and_why() -> None:
    """The dead letter's reason is a stable word, its detail tells the last failure."""
    decision = decide(3, [1.0, 2.0], error_class="E_TIMEOUT")

    assert isinstance(decision, GiveUp)
    assert "exhausted" == decision.reason
    assert "3 attempts" in decision.detail
    assert "E_TIMEOUT" in decision.detail


def decide_status(status: int | None, *, gives_up: bool) -> RetryAt | GiveUp:
    return decide_retry(
        attempt_number=1,
        error_class="E_HTTP",
        failed_at_us=NOW_US,
        retry_after_s=None,
        delays_s=[1.0],
        jitter=0.0,
        status=status,
        gives_up_on_client_errors=gives_up,
    )


def test_gone_is_gone() -> None:
    """410 is the endpoint's own word that it wants nothing any more, whatever the subscription's settings."""
    decisions = [decide_status(410, gives_up=gives_up) for gives_up in (False, True)]

    assert ["gone", "gone"] == [decision.reason for decision in decisions if isinstance(decision, GiveUp)]


@given(st.none() | st.integers(100, 999).filter(lambda status: status != 410))
def test_client_errors_are_given_up_only_on_request(status: int | None) -> None:
    """Every failure is retried by default, as Hook0 does; with the setting, 4xx is not, unless it may pass."""
    is_client_error = status is not None and 400 <= status < 500
    may_pass = status in (408, 425, 429)

    assert isinstance(decide_status(status, gives_up=False), RetryAt)
    assert (is_client_error and not may_pass) == isinstance(decide_status(status, gives_up=True), GiveUp)
