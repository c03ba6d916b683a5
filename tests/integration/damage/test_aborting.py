"""One wrong bit at which librdkafka 2.16 aborts the process: it ends once at most, and goes on behind the batch."""

import asyncio
import signal
import time
from collections.abc import Callable

from confluent_kafka import Producer
from msgspec.structs import replace

from pipeline.core.events.records import Event, to_bytes
from tests.integration.archive.archive_site import ArchiveSite
from tests.integration.archive.records import make_attempt, make_dispatch, make_event, make_id
from tests.integration.damage.conftest import OwnBroker
from tests.integration.damage.test_wrong_bits import BATCH_RECORDS, BATCHES, check_said, leave_out
from tests.integration.damage.test_wrong_bits_behind import wait_for
from tests.integration.deliver.deliver_site import DeliverSite, ids_of
from tests.support.beside import beside
from tests.support.kafka import report
from tests.support.receiver import Receiver
from tests.support.segments import Segment
from tests.support.supervised import keep_running

# What librdkafka takes for a header if the batch claims to be shorter than it is: an old message with fewer bytes than
# its own checksum has.
PAYLOAD = bytes(8192)
BAD_BATCH = 3
LENGTH_OF = 12  # bytes of a batch that its length does not count


def shorten(segment: Segment, number: int = BAD_BATCH) -> range:
    """Turn a bit of a batch's length, which then ends within the last payload. Its offsets."""
    batch = segment.batches()[number]
    bit = next(bit for bit in range(8, 13) if batch.size - LENGTH_OF & 1 << bit)
    segment.flip(batch, 10, bit - 8)
    return range(batch.base_offset, batch.last_offset + 1)


async def test_deliver_starts(broker: OwnBroker, prefix: str) -> None:
    """A backlog with such a batch in the deliveries and in a tier: all others are sent once, the offsets are named."""
    site = await DeliverSite(broker.servers, prefix, partitions=1).prepare()
    async with Receiver() as receiver:
        subscriber = site.subscribe(receiver.url("/a"))
        expected, bad = [], {}
        for topic, number in ((site.topics.deliveries, 1), (site.topics.retries[0], 2)):
            sent = []
            for _ in range(BATCHES):
                sent += site.send(subscriber, count=BATCH_RECORDS, payload=PAYLOAD, topic=topic, attempt_number=number)
            bad[topic] = shorten(broker.segment(topic))
            expected += leave_out(sent, bad[topic])
        async with site.deliver() as deliver:
            await site.attempts(len(expected), timeout_s=60)
            for topic, offsets in bad.items():
                await check_said(deliver, topic, offsets)

        assert ids_of(expected) == sorted(request.header("webhook-id") for request in receiver.requests())


async def test_deliver_ends_once(broker: OwnBroker, prefix: str) -> None:
    """Such a batch comes while it runs: it may end, and the next start goes on."""
    site = await DeliverSite(broker.servers, prefix, partitions=1).prepare()
    ended: list[int] = []
    async with Receiver() as receiver, site.deliver() as deliver:
        subscriber = site.subscribe(receiver.url("/a"))
        sent = site.send(subscriber, count=BATCH_RECORDS, payload=PAYLOAD)
        await site.attempts(BATCH_RECORDS)
        deliver.freeze()
        for _ in range(BATCHES - 1):
            sent += site.send(subscriber, count=BATCH_RECORDS, payload=PAYLOAD)
        bad = shorten(broker.segment(site.topics.deliveries))
        async with beside(keep_running([deliver], ended)):
            began_at_s = time.monotonic()
            deliver.thaw()
            await site.attempts(len(sent) - len(bad), timeout_s=60)
        report(f"a damaged batch that aborts: went on after {time.monotonic() - began_at_s:.1f} s, ended {ended}")
        await check_said(deliver, site.topics.deliveries, bad)

        assert ended in ([], [-signal.SIGABRT])
        assert set(ids_of(leave_out(sent, bad))) == {request.header("webhook-id") for request in receiver.requests()}


async def test_the_archive_starts(broker: OwnBroker, prefix: str, database: str) -> None:
    """The archive starts beside damaged attempts: all other attempts are archived."""
    site = await ArchiveSite(broker.servers, prefix, database, partitions=1).prepare()
    attempts = [
        replace(make_attempt(make_dispatch(make_event(make_id()), make_id())), response_body=PAYLOAD)
        for _ in range(BATCHES * BATCH_RECORDS)
    ]
    for begin in range(0, len(attempts), BATCH_RECORDS):
        site.write(*attempts[begin : begin + BATCH_RECORDS])
        site.flush()
    bad = shorten(broker.segment(site.topics.attempts))
    async with site.archive() as archive:
        expected = {attempt.attempt_id for attempt in leave_out(attempts, bad)}
        await wait_for(database, "select attempt_id::text from attempts", expected)
        await check_said(archive, site.topics.attempts, bad)


async def test_what_was_aborted_is_not_archived(broker: OwnBroker, prefix: str, database: str) -> None:
    """Read by its bytes, a log has the transactions that came to nothing as well: they are left out as ever."""
    site = await ArchiveSite(broker.servers, prefix, database, partitions=1).prepare()
    topic = site.topics.events
    producer = Producer({"bootstrap.servers": broker.servers, "transactional.id": f"{prefix}t"})
    await asyncio.to_thread(producer.init_transactions, 30)
    # each transaction is one batch, the first as well
    await asyncio.to_thread(producer.list_topics, topic.name, 30)
    kept: list[Event] = []

    def write(end: Callable[[float], object]) -> list[Event]:
        events = [make_event(make_id()) for _ in range(BATCH_RECORDS)]
        producer.begin_transaction()
        for event in events:
            producer.produce(topic.name, key=event.application_id, value=to_bytes(event), partition=0)
        producer.flush(30)
        # between them what is not aborted
        between = make_event(make_id())
        site.write(between)
        site.flush()
        kept.append(between)
        end(30)
        return events

    for _ in range(3):
        await asyncio.to_thread(write, producer.abort_transaction)
        kept += await asyncio.to_thread(write, producer.commit_transaction)
    segment = broker.segment(topic)
    batch = next(each for each in segment.batches() if each.records == BATCH_RECORDS)  # one that was aborted
    segment.flip(batch, -20)
    async with site.archive() as archive:
        await wait_for(database, "select event_id::text from events", {event.event_id for event in kept})
        await check_said(archive, topic, range(batch.base_offset, batch.last_offset + 1))
