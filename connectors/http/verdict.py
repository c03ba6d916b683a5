"""Judges an exchange: success or not, the class of a failure, whether the endpoint is overloaded. Pure."""

import email.utils
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from connectors.http.client.exchange import Answer, ErrorClass, Failure, Result

OVERLOAD_STATUSES = frozenset({429, 503})


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """`error_class`: None when it succeeded. `detail`: a sentence; after a success, why its body is not whole.

    `retry_after_s`: what the endpoint asked for.
    """

    error_class: str | None
    detail: str | None
    is_overload: bool  # slow down
    is_fault: bool  # the endpoint is not able, as opposed to not willing
    retry_after_s: float | None = None
    status: int | None = None  # of a failed attempt that was answered


SUCCEEDED = Verdict(error_class=None, detail=None, is_overload=False, is_fault=False)


def judge(result: Result, *, now_s: float) -> Verdict:
    """Success is 2xx and nothing else; redirects are failures."""
    if isinstance(result, Failure):
        is_away = result.error_class in (ErrorClass.TIMEOUT, ErrorClass.CONNECTION)
        is_fault = is_away or result.error_class is ErrorClass.DNS
        return Verdict(error_class=result.error_class, detail=result.detail, is_overload=is_away, is_fault=is_fault)
    return _judge_answer(result, now_s)


def _judge_answer(answer: Answer, now_s: float) -> Verdict:
    status = answer.status
    if 200 <= status < 300:
        # it has said so; a body that breaks off afterwards does not make it untrue (Hook0 sees it the same way)
        return SUCCEEDED if answer.body_problem is None else replace(SUCCEEDED, detail=answer.body_problem)
    is_overload = status in OVERLOAD_STATUSES
    return Verdict(
        error_class=ErrorClass.HTTP,
        detail=f"the endpoint answered {status}",
        is_overload=is_overload,
        is_fault=is_overload or status >= 500,
        retry_after_s=read_retry_after(answer.headers, now_s) if is_overload else None,
        status=status,
    )


def read_retry_after(headers: Mapping[str, str], now_s: float) -> float | None:
    """Seconds to wait, from `Retry-After` in seconds or as a date; None when it is not there or makes no sense."""
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:12])
    try:
        at = email.utils.parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return max(0.0, (at - datetime.fromtimestamp(now_s, UTC)).total_seconds())
