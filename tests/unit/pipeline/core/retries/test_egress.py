import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.retries.egress import ACTIVE_MIN, SUSPECT_SHARE, EgressGuard

WINDOW_US = 300_000_000


def test_a_few_endpoints_say_nothing() -> None:
    """One of two failing is no sign of anything."""
    guard = EgressGuard(WINDOW_US)
    for number in range(ACTIVE_MIN - 1):
        guard.note(number, number, 1, is_failure=True, is_fault=True)

    assert not guard.suspects_us(2)


def test_many_failing_at_once_are_our_own_fault() -> None:
    """More than a fifth of the active ones: us. When they recover, or their failures are old: no more."""
    guard = EgressGuard(WINDOW_US)
    for number in range(100):
        guard.note(number, number, 1, is_failure=number < 21, is_fault=number < 21)

    assert guard.suspects_us(2)
    guard.note(0, 0, 3, is_failure=False, is_fault=False)
    assert not guard.suspects_us(4)
    guard.note(0, 0, 5, is_failure=True, is_fault=True)
    assert guard.suspects_us(6)
    assert not guard.suspects_us(6 + WINDOW_US)


def test_whatever_most_endpoints_answer_it_may_be_us() -> None:
    """A firewall that blocks our addresses answers 403: no fault, and failures of all. Endpoints are tried rarely."""
    guard = EgressGuard(WINDOW_US)
    for number in range(20):
        guard.note(number, number, number * WINDOW_US, is_failure=True, is_fault=False)

    now_us = 20 * WINDOW_US
    assert guard.suspects_us(now_us)
    for number in range(9):
        guard.note(number, number, now_us, is_failure=False, is_fault=False)
    assert guard.suspects_us(now_us)
    guard.note(9, 9, now_us, is_failure=False, is_fault=False)
    assert not guard.suspects_us(now_us)


def test_a_process_that_has_just_begun_knows_who_failed_before() -> None:
    """A young process has not seen the healthy endpoints yet: in its first window it does not blame the others."""
    guard = EgressGuard(WINDOW_US, now_us=0, inherited=range(20))
    guard.note(0, 0, 1, is_failure=True, is_fault=False)

    assert guard.suspects_us(2)
    for number in range(100, 125):
        guard.note(number, number, 3, is_failure=False, is_fault=False)
    assert not guard.suspects_us(4)
    assert not EgressGuard(WINDOW_US, now_us=0, inherited=range(20)).suspects_us(WINDOW_US)


def test_one_owner_is_not_us() -> None:
    """An application with thousands of subscriptions to a dead host: those of others are disabled as ever."""
    guard = EgressGuard(WINDOW_US)
    for number in range(10_000):
        guard.note(number, "theirs", 1, is_failure=True, is_fault=True)
    assert guard.suspects_us(2)  # there is no other application to tell by
    for number in range(10):
        guard.note(-1 - number, number, 3, is_failure=number < 1, is_fault=number < 1)
    assert not guard.suspects_us(4)
    assert 2 / 11 == pytest.approx(guard.failing_share(4))

    for number in range(10):
        guard.note(-1 - number, number, 5, is_failure=True, is_fault=True)
    assert guard.suspects_us(6)


def test_few_endpoints_of_a_small_application_are_not_us() -> None:
    """A small application that fails as a whole is no sign of anything beside a large one that does well."""
    guard = EgressGuard(WINDOW_US)
    for number in range(100):
        is_theirs = number < 3
        guard.note(number, is_theirs, 1, is_failure=is_theirs, is_fault=is_theirs)

    assert not guard.suspects_us(2)


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 50_000_000), st.booleans())))
def test_counts_as_a_naive_count_does(outcomes: list[tuple[int, int, bool]]) -> None:
    """Kept up to date step by step, the share is what counting everything anew would give."""
    guard = EgressGuard(WINDOW_US)
    newest: dict[int, tuple[int, bool]] = {}
    now_us = 0
    for endpoint, step_us, is_fault in outcomes:
        now_us += step_us
        guard.note(endpoint, endpoint % 3, now_us, is_failure=is_fault, is_fault=is_fault)
        newest[endpoint] = (now_us, is_fault)
        active = [(each % 3, failing) for each, (at_us, failing) in newest.items() if at_us > now_us - WINDOW_US]
        by_owner = [[failing for owner, failing in active if owner == each] for each in {owner for owner, _ in active}]
        means = [sum(each) / len(each) for each in (*by_owner, [failing for _, failing in active])]
        share = min(sum(means[:-1]) / len(means[:-1]), means[-1]) if len(active) >= ACTIVE_MIN else 0.0

        assert share == pytest.approx(guard.failing_share(now_us))
        assert (share > SUSPECT_SHARE + 0.001) <= guard.suspects_us(now_us)
