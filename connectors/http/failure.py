"""The attempt of a delivery whose handling raised an exception that no code foresaw.

It is a failed attempt of class `E_INTERNAL`, retried by the schedule: an exception about one delivery must not end the
process, which would repeat it for ever and stop all other deliveries. Uses nothing that may have failed already.
"""

import traceback

from connectors.http.attempt import describe_attempt
from connectors.http.client.exchange import ErrorClass
from connectors.http.verdict import Verdict
from connectors.sink import LogRecord
from pipeline.core.events.records import Attempt, Delivery, Endpoint
from pipeline.core.retries.retry import DEFAULT_DELAYS_S, GiveUp, RetryAt, decide_retry

DETAIL_MAX_CHARS = 300


def explain_error(error: BaseException) -> str:
    """Describe an exception and where it was raised: short, with printable characters alone."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {'/'.join(frames[-1].filename.split('/')[-2:])}:{frames[-1].lineno}" if frames else ""
    text = "".join(character if character.isprintable() else "\ufffd" for character in str(error))
    text = text.encode(errors="replace").decode()
    return f"an error inside Hookline: {type(error).__name__}: {text[:DETAIL_MAX_CHARS]}{where}"


def judge_error(error: BaseException) -> Verdict:
    """Says nothing about the endpoint."""
    return Verdict(error_class=ErrorClass.INTERNAL, detail=explain_error(error), is_overload=False, is_fault=False)


def decide_after_error(delivery: Delivery, endpoint: Endpoint | None, failed_at_us: int) -> RetryAt | GiveUp:
    """Decide by the subscription's schedule if it is known, else by the default one."""
    delays_s = endpoint.retry_delays_s if endpoint is not None else None
    return decide_retry(
        attempt_number=delivery.attempt_number - delivery.schedule_from + 1,
        error_class=ErrorClass.INTERNAL,
        failed_at_us=failed_at_us,
        retry_after_s=None,
        delays_s=delays_s if delays_s is not None else DEFAULT_DELAYS_S,
        jitter=(failed_at_us % 1000) / 1000,
    )


def describe_error(
    record: LogRecord,
    delivery: Delivery,
    endpoint: Endpoint | None,
    error: BaseException,
    *,
    started_at_us: int,
    finished_at_us: int,
    next_due_at_us: int | None,
) -> Attempt:
    """The attempt, without request and answer: one of them may be what cannot be described."""
    return describe_attempt(
        record,
        delivery,
        endpoint,
        outcome="failed",
        verdict=judge_error(error),
        started_at_us=started_at_us,
        finished_at_us=max(started_at_us, finished_at_us),
        next_due_at_us=next_due_at_us,
    )
