"""Sending dead letters again: the same record goes back to where it died, its schedule begins anew, its trace goes on.

A record of a producer's topic is read once more instead, and what it has become is written as an event.

In batches: written, acknowledged, marked. A crash in between sends a batch again, under the same ids: nothing is
delivered twice by it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import msgspec

from pipeline.core.events.claim_check import NOWHERE, is_claim_check
from pipeline.core.events.moments import show_moment
from pipeline.core.events.records import Delivery, from_bytes, to_bytes
from pipeline.core.log.checksum import fits
from pipeline.gateway.producer_reading import ProducerReading
from pipeline.kafka.failures import ToSend, trace
from pipeline.kafka.producer import LogProducer
from pipeline.postgres.archive.contents import read_contents as read_events
from pipeline.postgres.archive.dead_letters import (
    ArchivedLetter,
    LetterContent,
    LetterFilter,
    list_letters,
    mark_redriven,
    measure_contents,
    note_redriven_events,
    read_contents,
)
from pipeline.postgres.archive.paging import Cursor
from pipeline.postgres.control.audit_log import SendingAgain, note_request
from pipeline.postgres.pool import Pool
from pipeline.topics import Topics
from schemas import SchemaError

BATCH_LETTERS = 200
# A delivery that died of one of these has no attempt under its number.
WITHOUT_ATTEMPT = frozenset({"refused_by_log", "endpoint_unknown", "payload_gone"})
# The log does not have the payload that such a delivery names, or has another one in its place.
WITHOUT_PAYLOAD = frozenset({"payload_gone", "corrupt"})
PORTION_MAX_BYTES = 8 * 1024 * 1024
GONE = "it is not kept any more"


@dataclass(slots=True, kw_only=True)
class Redriven:
    """The result of a redrive. `skipped`: dead id → why it cannot be sent again."""

    redriven: int = 0
    skipped: dict[str, str] = field(default_factory=dict)


async def redrive(
    pool: Pool,
    producer: LogProducer,
    topics: Topics,
    wanted: LetterFilter,
    *,
    reading: ProducerReading,
    limit: int | None = None,
    page_letters: int = BATCH_LETTERS,
    progress: Callable[[int], None] = lambda _: None,
) -> Redriven:
    """Send all letters of a filter again, at most `limit`. `progress` is called with the size of each batch.

    `page_letters`: how many are listed at once. Without an application, a list reads all letters that there are.

    Raises `KafkaUnavailableError`, or psycopg's errors; letters sent until then are marked, so that it may be called
    again.
    """
    done = Redriven()
    after = wanted.after
    is_noted = False
    while limit is None or done.redriven < limit:
        size = page_letters if limit is None else min(page_letters, limit - done.redriven)
        letters = await list_letters(pool, replace(wanted, after=after), limit=size)
        if not letters:
            return done
        if not is_noted:
            await note_request(pool, _describe(wanted, limit))
            is_noted = True
        for first in range(0, len(letters), BATCH_LETTERS):
            batch = letters[first : first + BATCH_LETTERS]
            for portion in _portion(batch, await measure_contents(pool, [letter.dead_id for letter in batch])):
                await _send_again(pool, producer, topics, portion, reading, done)
                progress(len(portion))
        after = Cursor(created_at_us=letters[-1].died_at_us, attempt_id=letters[-1].dead_id)
    return done


def _describe(wanted: LetterFilter, limit: int | None) -> SendingAgain:
    """The audit log's entry of a redrive: its filter."""
    ids = wanted.dead_ids or ()
    given = {
        "subscription_id": wanted.subscription_id,
        "event_id": wanted.event_id,
        "reason": wanted.reason,
        "min_died_at": show_moment(wanted.died_min_us) if wanted.died_min_us is not None else None,
        "max_died_at": show_moment(wanted.died_max_us) if wanted.died_max_us is not None else None,
        "dead_ids": len(ids) or None,
        "limit": limit,
    }
    return SendingAgain(
        application_id=wanted.application_id,
        resource="dead_letter",
        resource_id=ids[0] if len(ids) == 1 else "several",
        action="redriven",
        details={name: value for name, value in given.items() if value is not None},
    )


def _portion(letters: Sequence[ArchivedLetter], sizes: Mapping[str, int]) -> Iterator[list[ArchivedLetter]]:
    """Letters in their order, in portions that come to a few megabytes: of the largest records one or two."""
    portion: list[ArchivedLetter] = []
    size = 0
    for letter in letters:
        portion.append(letter)
        # the payload of a claim check is not in its letter
        size += sizes.get(letter.dead_id, 0) if letter.reason not in WITHOUT_PAYLOAD else PORTION_MAX_BYTES // 4
        if size >= PORTION_MAX_BYTES:
            yield portion
            portion, size = [], 0
    if portion:
        yield portion


async def _send_again(
    pool: Pool,
    producer: LogProducer,
    topics: Topics,
    letters: Sequence[ArchivedLetter],
    reading: ProducerReading,
    done: Redriven,
) -> None:
    contents = await read_contents(pool, [letter.dead_id for letter in letters])
    records: list[ToSend] = []
    sent: list[str] = []
    for letter in letters:
        content = contents.get(letter.dead_id)
        record = GONE if content is None else await prepare(pool, letter, content, topics, reading)
        if isinstance(record, str):
            done.skipped[letter.dead_id] = record
        else:
            records.append(record)
            sent.append(letter.dead_id)
    await note_redriven_events(pool, sent, topic=topics.events.name)
    await producer.send_bytes(records)
    await mark_redriven(pool, sent)
    done.redriven += len(sent)


async def prepare(
    pool: Pool, letter: ArchivedLetter, content: LetterContent, topics: Topics, reading: ProducerReading
) -> ToSend | str:
    """The record that sends a letter again, or the reason why that cannot be done."""
    if content.source_value is None:
        return "its record was too large to be kept, or had no value: it must be sent anew"
    if letter.source_topic == topics.events.name:
        return trace((topics.events, content.source_key or b"", content.source_value), content.trace)
    if reading.is_of_producers(letter.source_topic):
        event = await reading.read(letter, content)
        return event if isinstance(event, str) else trace((topics.events, *event), content.trace)
    if letter.source_topic not in {topic.name for topic in (topics.deliveries, *topics.retries)}:
        return f"records of {letter.source_topic} are not sent again"
    try:
        delivery = from_bytes(content.source_value)
    except SchemaError as error:
        return f"it cannot be read: {error}"
    if not isinstance(delivery, Delivery):
        return "it is no delivery"
    number = delivery.attempt_number + (letter.reason not in WITHOUT_ATTEMPT)
    again = msgspec.structs.replace(
        delivery, attempt_number=number, schedule_from=number, due_at_us=0, hop_at_us=0, parked_times=0
    )
    if is_claim_check(delivery) and letter.reason in WITHOUT_PAYLOAD:
        again = await _carry_payload(pool, again)
    return trace((topics.deliveries, delivery.subscription_id.encode(), to_bytes(again)), content.trace)


async def _carry_payload(pool: Pool, lean: Delivery) -> Delivery:
    """The delivery with the archive's payload in it; as it is where the archive does not have that either."""
    async for content in read_events(pool, [(lean.application_id, lean.event_id)]):
        if fits(lean, content.payload):
            return msgspec.structs.replace(
                lean, payload=content.payload, payload_partition=NOWHERE, payload_offset=NOWHERE, payload_bytes=0
            )
    return lean
