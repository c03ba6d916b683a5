"""A producer's open transaction in front of an accepted event: it cannot be read yet, and is not said to be unknown."""

import asyncio
from uuid import uuid4

from confluent_kafka import Producer

from pipeline.core.log.partition import locate_partition
from tests.support.stack import PARTITIONS, run_stack

TYPE = "billing.invoice.paid"


async def test_a_read_waits_for_an_open_transaction(kafka: str, postgres: str, migrated_template: str) -> None:
    """The read waits until the transaction has ended, or its time is over; then the event is there."""
    async with run_stack(
        kafka, postgres, migrated_template, "gateway", "archive", GATEWAY_ARCHIVE_WAIT_S="30"
    ) as stack:
        space = await stack.api.make_space(TYPE)
        producer = Producer({"bootstrap.servers": kafka, "transactional.id": str(uuid4())})
        await asyncio.to_thread(producer.init_transactions, 30)
        producer.begin_transaction()
        partition = locate_partition(space.application_id.encode(), PARTITIONS)
        producer.produce(stack.topics.events.name, key=b"k", value=b"taken back", partition=partition)
        await asyncio.to_thread(producer.flush, 30)
        event_id = await stack.api.send(space, TYPE)
        path = f"/events/{event_id}?application_id={space.application_id}"
        reading = asyncio.create_task(stack.api.call("GET", path, token=space.secret))
        answered, _ = await asyncio.wait({reading}, timeout=1)
        await asyncio.to_thread(producer.abort_transaction, 30)
        reply = await reading

    assert not answered
    assert (200, event_id) == (reply.status, reply.json["event_id"])
