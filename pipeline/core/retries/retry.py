"""The retry decision: pure, from the outcome, the schedule and a random number handed in."""

from collections.abc import Sequence
from dataclasses import dataclass

HOUR_S = 3600.0
# After the n-th failure; the last one repeats. 24 retries make 25 attempts in about 7.5 days.
DEFAULT_DELAYS_S: tuple[float, ...] = (3.0, 10.0, 180.0, 1800.0, HOUR_S, 3 * HOUR_S, 5 * HOUR_S) + (10 * HOUR_S,) * 17
JITTER_RATIO = 0.1
JITTER_MIN_S = 2.0
JITTER_MAX_S = 15 * 60.0
RETRY_AFTER_MIN_S = 1.0
RETRY_AFTER_MAX_S = 24 * HOUR_S
NEVER_RETRIED = frozenset({"E_INVALID_HEADER"})
GONE_STATUS = 410
# A client error that may pass: time-out, too early, too many.
PASSING_CLIENT_ERRORS = frozenset({408, 425, 429})


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryAt:
    """Try again at this time."""

    due_at_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveUp:
    """No more attempts; `reason` is the dead letter's."""

    reason: str
    detail: str


def decide_retry(
    *,
    attempt_number: int,
    error_class: str,
    failed_at_us: int,
    retry_after_s: float | None,
    delays_s: Sequence[float],
    jitter: float,
    status: int | None = None,
    gives_up_on_client_errors: bool = False,
) -> RetryAt | GiveUp:
    """Decide after failure number `attempt_number` (from 1). `jitter` is in [0, 1] and only ever adds.

    `status`: what the endpoint answered; None when it did not.
    """
    if status == GONE_STATUS:
        return GiveUp(reason="gone", detail="the endpoint answered 410: it is gone for good")
    is_client_error = status is not None and 400 <= status < 500 and status not in PASSING_CLIENT_ERRORS
    if gives_up_on_client_errors and is_client_error:
        return GiveUp(
            reason="client_error", detail=f"the endpoint answered {status}, which the subscription gives up on"
        )
    if error_class in NEVER_RETRIED:
        return GiveUp(
            reason="invalid_header", detail="a header value cannot be sent; correct the subscription's headers"
        )
    if attempt_number > len(delays_s):
        return GiveUp(
            reason="exhausted", detail=f"all {attempt_number} attempts failed; the last one with {error_class}"
        )
    base_s = delays_s[attempt_number - 1]
    if retry_after_s is not None:
        base_s = max(base_s, min(max(retry_after_s, RETRY_AFTER_MIN_S), RETRY_AFTER_MAX_S))
    spread_s = min(max(base_s * JITTER_RATIO, JITTER_MIN_S), JITTER_MAX_S)
    return RetryAt(due_at_us=failed_at_us + round((base_s + spread_s * jitter) * 1_000_000))
