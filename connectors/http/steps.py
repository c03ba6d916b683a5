"""The steps that every delivery goes through, as one value: a test can replace one, by a failing or a fixed one."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from connectors.http.attempt import describe_attempt
from connectors.http.client.exchange import Request
from connectors.http.message import build_request
from connectors.http.verdict import Verdict, judge
from connectors.sink import LogRecord
from pipeline.core.events.ids import is_uuid
from pipeline.core.events.records import Attempt, Delivery, expect
from pipeline.core.retries.retry import GiveUp, RetryAt, decide_retry
from schemas import SchemaError


def read_delivery(record: LogRecord) -> Delivery | SchemaError:
    """The delivery in a record, or why it cannot be read."""
    try:
        delivery = expect(Delivery, record.value or b"")
    except SchemaError as error:
        return error
    if not is_uuid(delivery.delivery_id):  # from which its attempts' ids are derived
        return SchemaError(f"an id that is no lower-case hyphenated UUID: {delivery.delivery_id[:50]!r}")
    return delivery


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """The steps of a delivery, in their order; the arguments are those of the functions named here."""

    read: Callable[[LogRecord], Delivery | SchemaError] = read_delivery
    build: Callable[..., tuple[Request, dict[str, str]]] = build_request
    judge: Callable[..., Verdict] = judge
    decide: Callable[..., RetryAt | GiveUp] = decide_retry
    describe: Callable[..., Attempt] = describe_attempt
    draw_jitter: Callable[[], float] = random.random  # between 0 and 1, for `decide`: spreads load, guards nothing
