"""Outcomes of deliveries become the attempts that the archive keeps. Pure."""

from collections.abc import Mapping

from connectors.http.client.exchange import Answer, Result
from connectors.http.verdict import Verdict
from connectors.sink import LogRecord
from pipeline.core.events.ids import derive_attempt_id
from pipeline.core.events.records import Attempt, Delivery, Endpoint

NO_HEADERS: Mapping[str, str] = {}


def describe_attempt(
    record: LogRecord,
    delivery: Delivery,
    endpoint: Endpoint | None,
    *,
    outcome: str,
    verdict: Verdict,
    started_at_us: int,
    finished_at_us: int,
    request_headers: Mapping[str, str] = NO_HEADERS,
    result: Result | None = None,
    next_due_at_us: int | None = None,
) -> Attempt:
    """`endpoint`: None when the failure came before it was found. `outcome`: succeeded, failed or cancelled.

    No attempt begins before its delivery was matched, whatever the clock of this process says.
    """
    answer = result if isinstance(result, Answer) else None
    # Two processes know the log's clock to some milliseconds each. The history lists a retry by the end of the attempt
    # before it and a first attempt by its matching: a request quicker than that was listed the wrong way round.
    late_us = max(0, delivery.matched_at_us - started_at_us)
    return Attempt(
        attempt_id=derive_attempt_id(delivery.delivery_id, delivery.attempt_number),
        attempt_number=delivery.attempt_number,
        delivery_id=delivery.delivery_id,
        subscription_id=delivery.subscription_id,
        application_id=delivery.application_id,
        event_id=delivery.event_id,
        event_type=delivery.event_type,
        appended_at_us=delivery.appended_at_us,
        outcome=outcome,
        error_class=verdict.error_class,
        error_detail=verdict.detail,
        queued_at_us=record.timestamp_us,
        started_at_us=started_at_us + late_us,
        finished_at_us=finished_at_us + late_us,
        request_method=endpoint.method if endpoint is not None else "",
        request_url=endpoint.url if endpoint is not None else "",
        request_headers=dict(request_headers),
        response_status=answer.status if answer is not None else None,
        response_headers=answer.headers if answer is not None else {},
        response_body=answer.body if answer is not None else b"",
        timings_us=dict(result.timings_us) if result is not None else {},
        next_due_at_us=next_due_at_us,
        source_topic=record.topic,
        source_partition=record.partition,
        source_offset=record.offset,
    )
