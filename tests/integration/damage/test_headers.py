"""One wrong bit in the header of a batch, of which the base offset, the length and the format have no checksum."""

import asyncio
from uuid import uuid4

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from pipeline.config import KafkaConfig
from pipeline.kafka.read_faults import ReadFault, ReadFaults
from pipeline.kafka.tail import read_tail
from pipeline.kafka.view import LogView
from pipeline.metrics import Metrics
from pipeline.topics import Topic, declare_topics
from tests.integration.damage.conftest import OwnBroker
from tests.integration.damage.test_wrong_bits import PAYLOAD, leave_out
from tests.integration.deliver.deliver_site import DeliverSite, ids_of
from tests.integration.matcher.matcher_site import MatcherSite
from tests.support.eventually import eventually
from tests.support.outside_producer import OutsideProducer
from tests.support.receiver import Receiver

BATCHES, BATCH_RECORDS, BAD_BATCH = 6, 10, 3
BAD = range(30, 40)
# (byte, bit) of the header: what each of them led librdkafka and the broker to
FLIPS = {
    "base offset +1": (7, 0),
    "base offset lower": (7, 4),
    "base offset in the log": (7, 5),
    "base offset higher": (6, 3),
    "base offset far away": (0, 1),
    "base offset negative": (0, 7),
    "length negative": (8, 7),
    "length beyond all": (8, 0),
    "length beyond the fetch": (9, 3),
    "length beyond the log": (10, 5),
    "length a bit longer": (11, 1),
    "length a bit shorter": (11, 2),
    "format old": (16, 1),
    "format unknown": (16, 0),
    "checksum": (17, 3),
    "compression": (22, 0),
    "control batch": (22, 5),
    "last offset": (26, 1),
    "producer": (43, 2),
    "count": (60, 0),
}


class Faults(ReadFaults):
    """Keeps faults, by what was flipped."""

    def __init__(self) -> None:
        super().__init__(Metrics("test"))
        self.by_flip: dict[str, list[tuple[int, int]]] = {}

    def note(self, fault: ReadFault) -> None:
        self.by_flip.setdefault(list(FLIPS)[fault.place[1]], []).append((fault.begin, fault.end))
        super().note(fault)


# of each kind one: most of them are errors of the checksum to a consumer
CONSUMED = ("base offset +1", "base offset higher", "length beyond all", "length beyond the log")
MATCHED = ("base offset lower", "base offset higher", "length beyond the log")


def make_topic(broker: OwnBroker, topic: Topic) -> None:
    admin = AdminClient({"bootstrap.servers": broker.servers}, logger=None)
    settings = topic.config(record_max_bytes=4 * 1024 * 1024)
    (made,) = admin.create_topics([NewTopic(topic.name, topic.partitions, 1, config=settings)]).values()
    made.result(30)


def write(broker: OwnBroker, topic: Topic) -> None:
    """Write batches of ten into every partition; each record's key is its offset."""
    producer = OutsideProducer(broker.servers)
    for begin in range(0, BATCHES * BATCH_RECORDS, BATCH_RECORDS):
        for partition in range(topic.partitions):
            for offset in range(begin, begin + BATCH_RECORDS):
                producer.write_bytes(topic, b"%d" % offset, b"x" * 90, partition=partition)
        producer.flush()


def flip_headers(broker: OwnBroker, topic: Topic) -> None:
    for partition, (byte, bit) in enumerate(FLIPS.values()):
        segment = broker.segment(topic, partition)
        segment.flip(segment.batches()[BAD_BATCH], byte, bit)


async def test_a_view_starts_without_what_cannot_be_read(broker: OwnBroker, prefix: str) -> None:
    """All other batches are applied, whatever bit it is, and the offsets of the bad one are named."""
    config = KafkaConfig(bootstrap_servers=broker.servers, topic_prefix=prefix, partitions=len(FLIPS))
    topics = declare_topics(prefix=prefix, partitions=len(FLIPS), event_retention_s=86_400)
    make_topic(broker, topics.routes)
    write(broker, topics.routes)
    flip_headers(broker, topics.routes)
    expected = [str(offset) for offset in range(BATCHES * BATCH_RECORDS) if offset not in BAD] * len(FLIPS)
    seen: list[str] = []
    faults = Faults()
    view = LogView(config, topics.routes, lambda key, _, __: seen.append(key), faults)
    await view.start()
    await eventually(lambda: sorted(expected) == sorted(seen))
    await view.close()

    assert {flip: [(BAD.start, BAD.stop)] for flip in FLIPS} == faults.by_flip
    assert view.take_incomplete()


async def test_what_is_read_once_has_all_other_records(broker: OwnBroker, prefix: str) -> None:
    """The end of a topic, or a range of it: no bit keeps a reader waiting or ends it; the offsets are named."""
    config = KafkaConfig(bootstrap_servers=broker.servers, topic_prefix=prefix, partitions=len(FLIPS))
    topics = declare_topics(prefix=prefix, partitions=len(FLIPS), event_retention_s=86_400)
    make_topic(broker, topics.attempts)
    write(broker, topics.attempts)
    flip_headers(broker, topics.attempts)
    faults, begin = Faults(), 25
    starts = dict.fromkeys(range(len(FLIPS)), begin)
    records, ends = await asyncio.to_thread(read_tail, config, topics.attempts, starts, records_max=1000, faults=faults)
    expected = [offset for offset in range(begin, BATCHES * BATCH_RECORDS) if offset not in BAD]

    assert {number: [record.offset for record in records if record.partition == number] for number in starts} == (
        dict.fromkeys(starts, expected)
    )
    assert all(int(record.key or b"") == record.offset for record in records)
    assert dict.fromkeys(starts, BATCHES * BATCH_RECORDS) == ends
    assert {flip: [(BAD.start, BAD.stop)] for flip in FLIPS} == faults.by_flip


@pytest.mark.parametrize("flip", CONSUMED)
async def test_a_group_steps_over_it(broker: OwnBroker, prefix: str, flip: str) -> None:
    """The http sink sends all other deliveries, none twice, and names the offsets."""
    site = await DeliverSite(broker.servers, prefix, partitions=1).prepare()
    async with Receiver() as receiver:
        subscriber = site.subscribe(receiver.url("/a"))
        sent = [
            delivery for _ in range(BATCHES) for delivery in site.send(subscriber, count=BATCH_RECORDS, payload=PAYLOAD)
        ]
        segment = broker.segment(site.topics.deliveries)
        segment.flip(segment.batches()[BAD_BATCH], *FLIPS[flip])
        async with site.deliver() as deliver:
            expected = leave_out(sent, BAD)
            await eventually(lambda: "records_unreadable" in deliver.log(), timeout_s=30)
            await eventually(lambda: receiver.received >= len(expected), timeout_s=30)
        ids = [request.header("webhook-id") for request in receiver.requests()]

        assert set(ids) == set(ids_of(expected))
        assert {PAYLOAD} == {request.body for request in receiver.requests()}
        assert len(ids) == len(set(ids))


async def test_a_group_reads_what_is_written_behind_it(broker: OwnBroker, prefix: str) -> None:
    """A wrong length near the log's end hides from the broker what comes next: it is sent at once all the same."""
    site = await DeliverSite(broker.servers, prefix, partitions=1).prepare()
    async with Receiver() as receiver:
        subscriber = site.subscribe(receiver.url("/a"))
        sent = site.send(subscriber)
        async with site.deliver() as deliver:
            await site.attempts(len(sent))
            deliver.freeze()
            for _ in range(4):
                sent += site.send(subscriber)
            segment = broker.segment(site.topics.deliveries)
            segment.flip(segment.batches()[2], *FLIPS["length beyond the log"])
            deliver.thaw()
            await eventually(lambda: "records_unreadable" in deliver.log(), timeout_s=30)
            sent += site.send(subscriber)
            await site.attempts(len(sent) - 1)

        assert ids_of([*sent[:2], *sent[3:]]) == sorted(each.header("webhook-id") for each in receiver.requests())


@pytest.mark.parametrize("flip", MATCHED)
async def test_the_matcher_steps_over_it(broker: OwnBroker, prefix: str, flip: str) -> None:
    """All other events are matched, and the offsets are named."""
    site = await MatcherSite(broker.servers, prefix, partitions=1).prepare()
    application_id = str(uuid4())
    site.publish(application_id, {str(uuid4()): {}})
    events = [event for _ in range(BATCHES) for event in site.send(application_id, BATCH_RECORDS, payload=PAYLOAD)]
    segment = broker.segment(site.topics.events)
    segment.flip(segment.batches()[BAD_BATCH], *FLIPS[flip])
    expected = {event.event_id for event in leave_out(events, BAD)}
    async with site.matcher() as matcher:
        dispatches = await site.dispatches(len(expected))
        await eventually(lambda: "records_unreadable" in matcher.log(), timeout_s=30)

        assert expected == {dispatch.event_id for dispatch in dispatches}
        assert 1 == matcher.log().count("records_unreadable")


async def test_the_matcher_reads_what_is_written_behind_it(broker: OwnBroker, prefix: str) -> None:
    """A wrong length near the log's end hides from the broker what comes next: it is matched all the same."""
    site = await MatcherSite(broker.servers, prefix, partitions=1).prepare()
    application_id = str(uuid4())
    site.publish(application_id, {str(uuid4()): {}})
    events = site.send(application_id, 1)
    async with site.matcher() as matcher:
        await site.dispatches(len(events))
        matcher.freeze()
        for _ in range(4):
            events += site.send(application_id, 1)
        segment = broker.segment(site.topics.events)
        segment.flip(segment.batches()[2], *FLIPS["length beyond the log"])
        matcher.thaw()
        await eventually(lambda: "records_unreadable" in matcher.log(), timeout_s=30)
        events += site.send(application_id, 1)
        dispatches = await site.dispatches(len(events) - 1)

        assert {event.event_id for event in [*events[:2], *events[3:]]} == {each.event_id for each in dispatches}
        assert 1 == matcher.log().count("records_unreadable")
