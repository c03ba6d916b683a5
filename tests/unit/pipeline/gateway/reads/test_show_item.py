from typing import Any

import pytest

from pipeline.gateway.reads.request_attempts import show_item
from pipeline.postgres.archive.attempts import ArchivedAttempt

CREATED_US = 1_795_500_460_000_000
CREATED = "2026-11-24T06:07:40.000000Z"
DUE_US, DUE = CREATED_US + 3_000_000, "2026-11-24T06:07:43.000000Z"
DONE_US, DONE = CREATED_US + 5_000_000, "2026-11-24T06:07:45.000000Z"


def make_item(**fields: Any) -> ArchivedAttempt:
    usual: dict[str, Any] = {
        "attempt_id": "a",
        "attempt_number": 1,
        "delivery_id": "d",
        "event_id": "e",
        "event_type": "billing.invoice.paid",
        "subscription_id": "s",
        "description": None,
        "created_at_us": CREATED_US,
        "due_at_us": None,
        "asked_at_us": None,
        "outcome": None,
        "started_at_us": None,
        "finished_at_us": None,
        "response_status": None,
        "error_class": None,
        "status": "pending",
    }
    return ArchivedAttempt(**usual | fields)


def test_owed_at_once_is_pending() -> None:
    """A first attempt that is still due."""
    assert show_item(make_item()) == {
        "request_attempt_id": "a",
        "delivery_id": "d",
        "event_id": "e",
        "event": {"event_id": "e", "event_type_name": "billing.invoice.paid"},
        "subscription": {"subscription_id": "s", "description": None},
        "created_at": CREATED,
        "picked_at": None,
        "failed_at": None,
        "succeeded_at": None,
        "delay_until": None,
        "asked_at": None,
        "response_id": None,
        "retry_count": 0,
        "http_response_status": None,
        "status": {"type": "pending", "since": CREATED},
    }


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("waiting", {"type": "waiting", "since": CREATED, "until": DUE}),
        ("pending", {"type": "pending", "since": CREATED}),
    ],
)
def test_a_retry_waits_until_it_is_due(status: str, expected: dict[str, str]) -> None:
    """Only what waits says until when."""
    assert expected == show_item(make_item(attempt_number=2, due_at_us=DUE_US, status=status))["status"]


def test_an_open_request_is_in_progress_since_it_began() -> None:
    """The attempt was picked, and has neither ended nor an answer."""
    shown = show_item(make_item(due_at_us=CREATED_US, started_at_us=DUE_US, status="in_progress"))

    assert {"type": "in_progress", "since": DUE} == shown["status"]
    assert (DUE, None, None, None) == (
        shown["picked_at"],
        shown["failed_at"],
        shown["succeeded_at"],
        shown["response_id"],
    )


def test_success_is_counted_from_when_it_was_due() -> None:
    """Waiting for a retry is no processing."""
    item = make_item(
        attempt_number=2,
        due_at_us=DUE_US,
        outcome="succeeded",
        status="successful",
        started_at_us=DUE_US,
        finished_at_us=DONE_US,
        response_status=204,
    )
    shown = show_item(item)

    assert shown["status"] == {"type": "successful", "at": DONE, "full_processing_ms": 2000}
    assert (shown["picked_at"], shown["succeeded_at"], shown["failed_at"]) == (DUE, DONE, None)
    assert (shown["retry_count"], shown["response_id"], shown["http_response_status"]) == (1, "a", 204)


def test_a_failure_shows_when_it_failed() -> None:
    """A failure without an answer shows it, too: the error is the response."""
    item = make_item(
        outcome="failed", status="failed", started_at_us=CREATED_US, finished_at_us=DONE_US, error_class="E_TIMEOUT"
    )
    shown = show_item(item)

    assert shown["status"] == {"type": "failed", "at": DONE, "full_processing_ms": 5000}
    assert (shown["failed_at"], shown["succeeded_at"], shown["response_id"]) == (DONE, None, "a")


def test_cancelled_is_failed_without_a_request() -> None:
    """Nothing was picked, nothing came back; before it was due, no time was spent."""
    item = make_item(
        attempt_number=2, due_at_us=DONE_US + 1, outcome="cancelled", status="failed", finished_at_us=DONE_US
    )
    shown = show_item(item)

    assert shown["status"] == {"type": "failed", "at": DONE, "full_processing_ms": 0}
    assert (shown["picked_at"], shown["failed_at"], shown["response_id"]) == (None, DONE, None)
