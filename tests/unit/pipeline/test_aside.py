"""Calls made aside: in their order, in one thread, and no caller blocks on them."""

import threading

import pytest

from pipeline.aside import Aside

TIMEOUT_S = 10.0


def test_results_and_errors_come_back() -> None:
    """A call's result or exception is its future's; the next call is made all the same."""
    aside = Aside("test")

    def fail() -> int:
        raise TimeoutError("no answer")

    failed, found = aside.call(fail), aside.call(threading.get_ident)
    aside.close()

    with pytest.raises(TimeoutError, match="no answer"):
        failed.result(TIMEOUT_S)
    assert threading.get_ident() != found.result(TIMEOUT_S)


def test_what_was_cancelled_is_not_begun() -> None:
    """A partition that went away is not looked at any more."""
    aside, gate, calls = Aside("test"), threading.Event(), list[int]()
    first = aside.call(lambda: gate.wait(TIMEOUT_S))
    second = aside.call(lambda: calls.append(2))
    third = aside.call(lambda: calls.append(3))
    second.cancel()
    gate.set()
    aside.close()
    third.result(TIMEOUT_S)

    assert (True, [3]) == (first.result(TIMEOUT_S), calls)
