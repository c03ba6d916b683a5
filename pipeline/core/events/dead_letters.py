"""Dead letters: the one place that makes them."""

from collections.abc import Sequence

from pipeline.core.events.ids import derive_record_id
from pipeline.core.events.records import DeadLetter, Delivery

# of what producers write: longer details are cut, longer keys left out, so that a letter always fits
DETAIL_MAX_CHARS = 500
KEY_MAX_BYTES = 1024  # a key is in a letter twice


def make_dead_letter(
    reason: str,
    detail: str,
    *,
    topic: str,
    partition: int,
    offset: int,
    key: bytes | None,
    value: bytes | None,
    appended_at_us: int,
    died_at_us: int,
    delivery: Delivery | None = None,
    application_id: str | None = None,
    event_id: str | None = None,
    name: str | None = None,
    record_time_us: int | None = None,
    headers: Sequence[tuple[str, bytes | None]] = (),
) -> DeadLetter:
    """The dead letter of the record at this place.

    `delivery`: what the record holds, if it is one; else `application_id` and `event_id` say whose it is, if that is
    known. `name`: for a record without an offset, which its place does not tell from others. `record_time_us`: as the
    log has it, where `appended_at_us` is another time. `headers`: where they belong to what the record says.
    """
    if name is None:
        dead_id = derive_record_id(
            topic, partition, offset, appended_at_us if record_time_us is None else record_time_us
        )
    else:
        dead_id = derive_record_id(f"{topic}/{name}", partition, offset, 0)
    return DeadLetter(
        dead_id=dead_id,
        reason=reason,
        detail=detail,
        source_topic=topic,
        source_partition=partition,
        source_offset=offset,
        source_appended_at_us=appended_at_us if delivery is None else delivery.appended_at_us,
        source_key=key,
        source_value=value,
        application_id=application_id if delivery is None else delivery.application_id,
        subscription_id=None if delivery is None else delivery.subscription_id,
        delivery_id=None if delivery is None else delivery.delivery_id,
        event_id=event_id if delivery is None else delivery.event_id,
        died_at_us=died_at_us,
        source_headers=[{"name": name, "value": value} for name, value in headers],
    )
