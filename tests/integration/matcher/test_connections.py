"""aiokafka on uvloop, on which the matcher runs, when a connection is closed between two requests."""

import asyncio

import pytest
import uvloop
from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.metadata import MetadataRequest

from pipeline.matcher.connections import guard_connections


async def ask_after_close(servers: str) -> int:
    """Close the transport under the client, ask, and ask again; the number of brokers in the second answer."""
    client = AIOKafkaClient(bootstrap_servers=servers)
    await client.bootstrap()
    guard_connections(client)
    try:
        node_id = client.get_random_node()
        await client.send(node_id, MetadataRequest([]))
        connection = client._conns[node_id, ConnectionGroup.DEFAULT]  # noqa: SLF001 - what a broker's end closes
        connection._writer.transport.abort()  # noqa: SLF001
        await asyncio.sleep(0)  # it is closed, and aiokafka's reader had no turn
        with pytest.raises(KafkaConnectionError, match="closed"):
            await connection.send(MetadataRequest([]))
        return len((await client.send(node_id, MetadataRequest([]))).brokers)
    finally:
        await client.close()


async def test_a_connection_that_was_closed_is_opened_again(kafka: str) -> None:
    """The request fails as one whose broker is gone does: it is made again, and the matcher goes on."""
    assert 1 == await asyncio.to_thread(lambda: uvloop.run(ask_after_close(kafka)))
