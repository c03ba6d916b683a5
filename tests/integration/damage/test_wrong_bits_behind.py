"""One wrong bit in what archive, gateways and a starting deliver read: dispatches, attempts, dead letters, states."""

import time
from uuid import uuid4

import psycopg
import pytest

from pipeline.core.events.records import EndpointState, to_bytes
from pipeline.topics import Topic
from tests.integration.archive.archive_site import ArchiveSite
from tests.integration.archive.records import make_attempt, make_dead_letter, make_dispatch, make_event, make_id
from tests.integration.damage.conftest import OwnBroker
from tests.integration.damage.test_wrong_bits import BATCH_RECORDS, BATCHES, check_said, leave_out
from tests.support.eventually import eventually
from tests.support.outside_producer import OutsideProducer
from tests.support.single_process import SingleProcess
from tests.support.stack import run_stack

RECORDS = BATCHES * BATCH_RECORDS
BAD_BATCH = 3


def flip_middle(broker: OwnBroker, topic: Topic, form: str) -> range:
    """Turn a bit in the middle of a batch's records, or of their frame. The offsets of the batch."""
    segment = broker.segment(topic)
    batch = segment.batches()[BAD_BATCH]
    assert form == batch.codec
    segment.flip(batch, -(batch.size - 61) // 2)
    return range(batch.base_offset, batch.last_offset + 1)


async def wait_for(database: str, statement: str, expected: set[str]) -> None:
    """Wait until the selected values are the expected ones, no fewer and no more."""

    async def check() -> bool:
        async with await psycopg.AsyncConnection.connect(database) as connection:
            rows = await (await connection.execute(statement.encode())).fetchall()
        found = {row[0] for row in rows}
        assert expected == found, f"{len(expected - found)} are missing, {len(found - expected)} too many"
        return True

    await eventually(check, timeout_s=60)


@pytest.mark.parametrize("form", ["none", "zstd"])
async def test_the_archive_steps_over_bad_batches_of_its_other_topics(
    broker: OwnBroker, prefix: str, database: str, form: str
) -> None:
    """One each of dispatches, attempts and dead letters: the records of all other batches are archived."""
    site = await ArchiveSite(broker.servers, prefix, database, partitions=1, compression_type=form).prepare()
    application_id = make_id()
    # a subscription of its own for each, so that an attempt is there whether its dispatch is or not
    dispatches = [make_dispatch(make_event(application_id), make_id()) for _ in range(RECORDS)]
    attempts = [make_attempt(make_dispatch(make_event(application_id), make_id())) for _ in range(RECORDS)]
    letters = [make_dead_letter(make_event(application_id)) for _ in range(RECORDS)]
    for begin in range(0, RECORDS, BATCH_RECORDS):
        for kind in (dispatches, attempts, letters):
            site.write(*kind[begin : begin + BATCH_RECORDS])
        site.flush()
    topics = (site.topics.dispatches, site.topics.attempts, site.topics.dead)
    bad = {topic: flip_middle(broker, topic, form) for topic in topics}
    async with site.archive() as archive:
        for statement, expected in (
            (
                "select event_id::text from dispatches",
                {each.event_id for each in leave_out(dispatches, bad[site.topics.dispatches])},
            ),
            (
                "select attempt_id::text from attempts",
                {each.attempt_id for each in leave_out(attempts, bad[site.topics.attempts])},
            ),
            (
                "select dead_id::text from dead_letters",
                {each.dead_id for each in leave_out(letters, bad[site.topics.dead])},
            ),
        ):
            await wait_for(database, statement, expected)
        for topic in topics:
            await check_said(archive, topic, bad[topic])


async def test_states_of_endpoints(broker: OwnBroker, postgres: str, migrated_template: str) -> None:
    """A gateway shows all others; a deliver that starts begins without those it cannot read, and says so."""
    async with run_stack(broker.servers, postgres, migrated_template, "gateway") as stack:
        topic = stack.topics.endpoint_states
        states = [
            EndpointState(
                subscription_id=str(uuid4()),
                application_id=str(uuid4()),
                endpoint_version=1,
                changed_at_us=time.time_ns() // 1000,
                failing_since_us=1,
            )
            for _ in range(RECORDS)
        ]
        (gateway,) = stack.processes["gateway"]
        gateway.freeze()
        write_states(broker, topic, states)
        bad = flip_middle(broker, topic, "zstd")
        gateway.thaw()
        expected = {each.subscription_id for each in leave_out(states, bad)}
        await wait_for(stack.database_url, "select subscription_id::text from endpoint_states", expected)
        await check_said(gateway, topic, bad, status=200)
        async with SingleProcess("deliver", stack.environ) as deliver:
            await check_said(deliver, topic, bad)


def write_states(broker: OwnBroker, topic: Topic, states: list[EndpointState]) -> None:
    """Write states in batches, all to one partition."""
    producer = OutsideProducer(broker.servers, compression_type="zstd")
    for begin in range(0, len(states), BATCH_RECORDS):
        for state in states[begin : begin + BATCH_RECORDS]:
            producer.write_bytes(topic, state.subscription_id.encode(), to_bytes(state), partition=0)
        producer.flush()
