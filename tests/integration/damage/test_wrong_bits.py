"""One wrong bit in a topic's file, in a payload and in a compressed frame, before and while it is read.

The batch is stepped over, counted and named; what lies behind it goes on; no wrong byte is sent or stored.
"""

from collections.abc import Sequence
from typing import Any, TypeVar
from uuid import uuid4

import aiohttp
import psycopg
import pytest

from tests.integration.archive.archive_site import ArchiveSite
from tests.integration.damage.conftest import OwnBroker
from tests.integration.deliver.deliver_site import DeliverSite, ids_of
from tests.integration.matcher.matcher_site import MatcherSite, make_event
from tests.support.eventually import eventually
from tests.support.receiver import Receiver
from tests.support.single_process import SingleProcess

BATCHES = 6
BATCH_RECORDS = 10
BAD = 35  # an offset in the batch that is damaged
FORMS = ("none", "gzip", "snappy", "lz4", "zstd")
PAYLOAD = b'{"n":"' + b"abcdefgh" * 40 + b'"}'
T = TypeVar("T")


def damage(broker: OwnBroker, topic: Any, form: str) -> range:
    """Turn a bit in the middle of a batch: of a payload, or of the compressed frame. The offsets of the batch."""
    segment = broker.segment(topic)
    (batch,) = [each for each in segment.batches() if each.base_offset <= BAD < each.base_offset + each.records]
    assert form == batch.codec
    if form == "none":
        segment.flip_in(batch, b"efghabcd")
    else:
        segment.flip(batch, -(batch.size - 61) // 2)
    return range(batch.base_offset, batch.last_offset + 1)


def leave_out(records: Sequence[T], bad: range) -> list[T]:
    """Return the records at other offsets."""
    return [record for offset, record in enumerate(records) if offset not in bad]


async def ask(process: SingleProcess, path: str) -> tuple[int, str]:
    address = (await process.wait_ready())["metrics"].removesuffix("/metrics")
    async with aiohttp.ClientSession() as session, session.get(f"{address}{path}") as answer:
        return answer.status, await answer.text()


async def check_said(process: SingleProcess, topic: Any, bad: range, *, status: int = 503) -> None:
    """Metric, log and health name what was stepped over. `status`: of `/health`, 200 where it is degraded only."""
    _, metrics = await ask(process, "/metrics")
    answered, health = await ask(process, "/health")

    assert f'hookline_unreadable_records_total{{topic="{topic.name}"}} {len(bad)}.0' in metrics.splitlines()
    (line,) = [line for line in process.log().splitlines() if "records_unreadable" in line and topic.name in line]
    assert f"first_offset={bad.start}" in line.replace("\x1b[0m", "").replace(" ", " ")
    assert status == answered
    assert "cannot be read" in health


@pytest.mark.parametrize("form", FORMS)
async def test_events_are_matched_around_it(broker: OwnBroker, prefix: str, form: str) -> None:
    """The matcher steps over the batch and matches all others."""
    site = await MatcherSite(broker.servers, prefix, partitions=1, compression_type=form).prepare()
    application_id = str(uuid4())
    site.publish(application_id, {str(uuid4()): {}})
    events = [event for _ in range(BATCHES) for event in site.send(application_id, BATCH_RECORDS, payload=PAYLOAD)]
    bad = damage(broker, site.topics.events, form)
    expected = leave_out(events, bad)
    async with site.matcher() as matcher:
        dispatches = await site.dispatches(len(expected))

        assert {event.event_id for event in expected} == {dispatch.event_id for dispatch in dispatches}
        await check_said(matcher, site.topics.events, bad)


@pytest.mark.parametrize("form", FORMS)
async def test_deliveries_are_sent_around_it(broker: OwnBroker, prefix: str, form: str) -> None:
    """The http sink steps over the batch in the deliveries and in a tier; nothing wrong is sent."""
    site = await DeliverSite(broker.servers, prefix, partitions=1, compression=form).prepare()
    async with Receiver() as receiver:
        subscriber = site.subscribe(receiver.url("/a"))
        expected = []
        topics = [(site.topics.deliveries, 1), (site.topics.retries[0], 2)]
        bad = {}
        for topic, number in topics:
            sent = [
                delivery
                for _ in range(BATCHES)
                for delivery in site.send(
                    subscriber, count=BATCH_RECORDS, payload=PAYLOAD, topic=topic, attempt_number=number
                )
            ]
            bad[topic.name] = damage(broker, topic, form)
            expected += leave_out(sent, bad[topic.name])
        async with site.deliver() as deliver:
            await site.attempts(len(expected), timeout_s=60)
            for topic, _ in topics:
                await check_said(deliver, topic, bad[topic.name])

        assert {PAYLOAD} == {request.body for request in receiver.requests()}
        assert ids_of(expected) == sorted(request.header("webhook-id") for request in receiver.requests())


async def test_a_bit_that_turns_while_it_runs(broker: OwnBroker, prefix: str) -> None:
    """A batch that is damaged while the process runs, behind the ones it has read, is stepped over as well."""
    site = await DeliverSite(broker.servers, prefix, partitions=1, compression="lz4").prepare()
    async with Receiver() as receiver:
        subscriber = site.subscribe(receiver.url("/a"))
        site.send(subscriber, count=BATCH_RECORDS, payload=PAYLOAD)
        async with site.deliver() as deliver:
            await site.attempts(BATCH_RECORDS)
            deliver.freeze()
            for _ in range(BATCHES - 1):
                site.send(subscriber, count=BATCH_RECORDS, payload=PAYLOAD)
            bad = damage(broker, site.topics.deliveries, "lz4")
            deliver.thaw()
            await site.attempts(BATCHES * BATCH_RECORDS - len(bad))
            await check_said(deliver, site.topics.deliveries, bad)


async def test_the_end_of_the_attempts_is_damaged(broker: OwnBroker, prefix: str) -> None:
    """Deliver starts: what it cannot read of its own attempts may be sent once more, and everything goes on."""
    site = await DeliverSite(broker.servers, prefix, partitions=1).prepare()
    async with Receiver() as receiver:
        subscriber = site.subscribe(receiver.url("/a"))
        first = site.send(subscriber, count=BATCH_RECORDS, payload=PAYLOAD)
        process = site.deliver()
        async with process:
            await site.attempts(BATCH_RECORDS)
            await process.kill()
            segment = broker.segment(site.topics.attempts)
            segment.flip(segment.batches()[-1], -5)
            await process.start()
            second = site.send(subscriber, count=BATCH_RECORDS, payload=PAYLOAD)
            sent = ids_of([*first, *second])
            await eventually(lambda: sorted({r.header("webhook-id") for r in receiver.requests()}) == sent)

        assert "records_unreadable" in process.log()
        assert len(receiver.requests()) <= 3 * BATCH_RECORDS


@pytest.mark.parametrize("form", FORMS)
async def test_the_archive_keeps_what_is_right(broker: OwnBroker, prefix: str, database: str, form: str) -> None:
    """The archive steps over the batch and keeps all others, with the payloads that were sent."""
    site = await ArchiveSite(broker.servers, prefix, database, partitions=1, compression_type=form).prepare()
    events = []
    for _ in range(BATCHES):
        batch = [make_event(str(uuid4()), payload=PAYLOAD) for _ in range(BATCH_RECORDS)]
        site.write(*batch)
        site.flush()
        events += batch
    bad = damage(broker, site.topics.events, form)
    expected = leave_out(events, bad)
    async with site.archive() as archive:
        rows = await wait_for_rows(database, len(expected))
        await check_said(archive, site.topics.events, bad)

    assert {(event.event_id, len(PAYLOAD)) for event in expected} == rows


async def test_routes_with_a_bad_batch(broker: OwnBroker, prefix: str) -> None:
    """The matcher starts without the versions that cannot be read, says so, and goes on with those it has."""
    site = await MatcherSite(broker.servers, prefix, partitions=1).prepare()
    applications = [str(uuid4()) for _ in range(3)]
    for application_id in applications:
        site.publish(application_id, {str(uuid4()): {}})
    segment = broker.segment(site.topics.routes)
    bad = segment.batches()[1]
    segment.flip_in(bad, applications[1].encode())
    async with site.matcher() as matcher:
        for application_id in (applications[0], applications[2]):
            site.send(application_id, 5)
        await site.dispatches(10)
        await check_said(matcher, site.topics.routes, range(bad.base_offset, bad.last_offset + 1))


async def wait_for_rows(database: str, count: int) -> set[tuple[str, int]]:
    async def find() -> set[tuple[str, int]]:
        async with await psycopg.AsyncConnection.connect(database) as connection:
            cursor = await connection.execute("select event_id::text, length(payload), payload_compressed from events")
            rows = await cursor.fetchall()
        assert count <= len(rows), f"{len(rows)} events archived, {count} expected"
        assert not any(row[2] for row in rows)
        return {(row[0], row[1]) for row in rows}

    return await eventually(find, timeout_s=60)
